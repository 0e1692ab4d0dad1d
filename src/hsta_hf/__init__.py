"""hsta-hf: micro-expression recognition with Hierarchical Space-Time Attention (HSTA).

Importing this package registers HSTA with transformers' Auto classes and its video-classification pipeline.
"""

__version__ = "0.1.0"
