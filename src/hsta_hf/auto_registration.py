"""Makes HSTA known to transformers' Auto classes and to its video-classification pipeline.

Importing `hsta_hf` calls `register_auto_classes`. In a folder saved by HSTA the same happens without this package:
the saved configuration says which of the code files beside it hold the classes (`trust_remote_code=True`).
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor

from .configuration_hsta import HSTAConfig
from .modeling_hsta import HSTAForMicroExpressionClassification, HSTAModel
from .video_processing_hsta import HSTAVideoProcessor, allow_in_video_classification_pipeline


def register_auto_classes() -> None:
    """Register HSTA with `AutoConfig`, `AutoModel`, `AutoModelForVideoClassification` and `AutoVideoProcessor`.

    Also marks the classes so that `save_pretrained` copies their code files into the folder and notes them there,
    which is what lets others load it with `trust_remote_code=True`. May be called more than once.
    """
    AutoConfig.register(HSTAConfig.model_type, HSTAConfig, exist_ok=True)
    AutoModel.register(HSTAConfig, HSTAModel, exist_ok=True)
    AutoModelForVideoClassification.register(HSTAConfig, HSTAForMicroExpressionClassification, exist_ok=True)
    AutoVideoProcessor.register(HSTAConfig, HSTAVideoProcessor, exist_ok=True)
    allow_in_video_classification_pipeline()

    HSTAConfig.register_for_auto_class()
    HSTAModel.register_for_auto_class("AutoModel")
    HSTAForMicroExpressionClassification.register_for_auto_class("AutoModelForVideoClassification")
    HSTAVideoProcessor.register_for_auto_class()
