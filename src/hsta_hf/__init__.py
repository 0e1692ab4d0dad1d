"""hsta-hf: micro-expression recognition with Hierarchical Space-Time Attention (HSTA).

Importing this package registers HSTA with transformers' Auto classes and its video-classification pipeline.
"""

from hsta_hf.auto_registration import register_auto_classes
from hsta_hf.configuration_hsta import HSTA_PRESETS, HSTAConfig
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification, HSTAModel
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

__version__ = "0.1.0"
__all__ = [
    "HSTA_PRESETS",
    "HSTAConfig",
    "HSTAForMicroExpressionClassification",
    "HSTAModel",
    "HSTAVideoProcessor",
    "register_auto_classes",
]

register_auto_classes()
