"""The linear SVM: against scikit-learn, and what it may look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sklearn.svm import SVC

from hsta_hf.baselines.base import TrainingPart
from hsta_hf.baselines.linear_svm import C_CHOICES, fit_linear_svm
from hsta_hf.data.labels import get_label_scheme


def part_of(clips: int = 60, subjects: int = 6, noise: float = 1.0) -> TrainingPart:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, clips)
    centres = rng.normal(size=(7, 20)) * 2
    features = (centres[labels] + noise * rng.normal(size=(clips, 20))).astype(np.float32)
    who = [("casme3", f"s{number % subjects}") for number in range(clips)]
    return TrainingPart(features, labels.tolist(), who, get_label_scheme("casme3_7"), seed=0)


def test_each_hyperplane_is_that_of_scikit_learn() -> None:
    part = part_of()
    fitted = fit_linear_svm(part, c=10.0)
    x = (part.features - part.features.mean(axis=0)) / part.features.std(axis=0) / np.sqrt(20)
    for number in range(7):
        machine = SVC(kernel="linear", C=10.0).fit(x, part.targets[:, number])
        np.testing.assert_allclose(
            fitted.logits(part.features)[:, number], machine.decision_function(x), rtol=1e-2, atol=1e-2
        )


def test_c_is_chosen_on_subjects_that_were_held_back() -> None:
    fitted = fit_linear_svm(part_of())
    assert set(fitted.choices) == set(C_CHOICES) and fitted.choices[fitted.c] == max(fitted.choices.values())
    assert max(fitted.choices.values()) > 0.7


def test_one_subject_has_no_inner_folds() -> None:
    fitted = fit_linear_svm(part_of(subjects=1))
    assert fitted.c == 1.0 and not fitted.choices


def test_a_class_that_the_training_clips_lack_is_never_predicted() -> None:
    part = part_of()
    keep = [place for place, label in enumerate(part.labels) if label != 3]
    rest = TrainingPart(
        part.features[keep], [part.labels[i] for i in keep], [part.subjects[i] for i in keep], part.scheme, 0
    )
    assert 3 not in fit_linear_svm(rest, c=1.0).logits(part.features).argmax(axis=1)


def test_several_labels_a_clip_are_judged_one_by_one() -> None:
    scheme = get_label_scheme("action_units")
    assert scheme.multi_label
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (50, scheme.num_labels))
    features = (labels @ rng.normal(size=(scheme.num_labels, 40))).astype(np.float32)
    part = TrainingPart(features, [tuple(row) for row in labels.tolist()], [("d", str(n % 5)) for n in range(50)],
                        scheme, seed=0)  # fmt: skip
    assert ((fit_linear_svm(part, c=1000.0).logits(features) > 0) == labels).mean() > 0.95


def test_what_was_learnt_is_saved_without_pickles(tmp_path: Path) -> None:
    part = part_of()
    fitted = fit_linear_svm(part, c=1.0)
    fitted.save(tmp_path)
    saved = load_file(tmp_path / "svm.safetensors")
    again = (part.features - saved["mean"]) / saved["scale"] @ saved["weights"].T + saved["bias"]
    assert again == pytest.approx(fitted.logits(part.features), abs=1e-3)
