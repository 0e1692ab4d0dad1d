"""Baselines that run in the harness of HSTA: same clips, labels, splits, seeds, predictions table and report.

`hsta train RECIPE --baseline NAME` runs one. What each is and where it differs from its source: docs/baselines.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hsta_hf.baselines.base import FeatureBaseline
from hsta_hf.baselines.folds import FeatureMethod
from hsta_hf.baselines.hoof import HOOF
from hsta_hf.baselines.lbp_top import LBPTOP
from hsta_hf.baselines.majority import Majority
from hsta_hf.baselines.off_apexnet import OFFApexNet
from hsta_hf.baselines.ststnet import STSTNet
from hsta_hf.baselines.videomae import VideoMAEMethod
from hsta_hf.training.clips import LabelledClips
from hsta_hf.training.methods import Method
from hsta_hf.training.recipe import Recipe

FEATURE_BASELINES: Mapping[str, Callable[[Recipe], FeatureBaseline]] = {
    kind.name: kind for kind in (Majority, LBPTOP, HOOF, OFFApexNet, STSTNet)
}


def baseline_method(recipe: Recipe, clips: LabelledClips) -> Method:
    """What trains the folds of a recipe that names a baseline.

    Raises:
        RecipeError: the baseline's settings are wrong, or the recipe asks for what only HSTA can do.
    """
    if recipe.model.baseline == VideoMAEMethod.name:
        return VideoMAEMethod(recipe, clips)
    return FeatureMethod(FEATURE_BASELINES[str(recipe.model.baseline)](recipe), recipe, clips)


__all__ = ["FEATURE_BASELINES", "baseline_method"]
