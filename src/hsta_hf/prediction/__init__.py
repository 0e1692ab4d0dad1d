"""Prediction: from whatever a user calls a video to the scores of a trained model.

from hsta_hf.prediction import Predictor
predictor = Predictor.from_pretrained("runs/demo")
found = predictor(["a.mp4", "b.mp4"])
"""

from hsta_hf.prediction.aligned_clip import AlignedClip, align_clip
from hsta_hf.prediction.clips import ClipRequest, Prediction
from hsta_hf.prediction.predictor import Predictor

__all__ = ["AlignedClip", "ClipRequest", "Prediction", "Predictor", "align_clip"]
