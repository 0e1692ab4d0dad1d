"""Dealing clips, or whole subjects, to folds that are even in size and in labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from sklearn.model_selection import StratifiedKFold

# Orders in which subjects are dealt to folds; the best result is taken.
_ORDERS = 256


def clip_folds(labels: Sequence[Hashable], num_folds: int, seed: int) -> list[list[int]]:
    """Folds of clips, stratified by label.

    Args:
        labels: Label of every clip.
        num_folds: Number of folds; at most the number of clips.
        seed: Seed of the shuffling.

    Returns:
        The positions of each fold's test clips.
    """
    splitter = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    return [test.tolist() for _, test in splitter.split(np.zeros(len(labels)), _strata(labels, num_folds))]


def subject_folds(subjects: Sequence[str], labels: Sequence[Hashable], num_folds: int, seed: int) -> list[list[int]]:
    """Folds of whole subjects, even in size and in labels.

    Large subjects first, each subject goes where the folds stay most even; of several seeded orders the best
    result is taken. (scikit-learn's StratifiedGroupKFold evens out labels only, and its order, and so its
    folds, hardly depend on the seed.)

    Args:
        subjects: Subject of every clip; at least `num_folds` different ones.
        labels: Label of every clip.
        num_folds: Number of folds.
        seed: Seed of the orders.

    Returns:
        The positions of each fold's test clips.
    """
    strata = np.unique([repr(label) for label in labels], return_inverse=True)[1]
    names = list(dict.fromkeys(subjects))
    counts = np.zeros((len(names), int(strata.max()) + 1))
    np.add.at(counts, (np.array([names.index(subject) for subject in subjects]), strata), 1)
    # Sizes count as much as all labels together; a class is weighed by its rarity, as in a chi-square test.
    table = np.hstack([counts, counts.sum(axis=1, keepdims=True)])
    ideal = table.sum(axis=0) / num_folds
    weight = 1 / ideal
    weight[-1] *= counts.shape[1]

    rng = np.random.default_rng(seed)
    best_fold_of, best_cost = np.zeros(len(names), dtype=int), np.inf
    for _ in range(_ORDERS):
        order = np.argsort(-table[:, -1] * rng.uniform(0.7, 1.3, len(names)))
        fold_of = np.full(len(names), -1)
        filled = np.zeros((num_folds, table.shape[1]))
        for done, subject in enumerate(order):
            change = (((filled + table[subject] - ideal) ** 2 - (filled - ideal) ** 2) * weight).sum(axis=1)
            empty = ~filled.any(axis=1)
            if len(order) - done <= empty.sum():
                change[~empty] = np.inf  # every subject that is left is needed to leave no fold empty
            change += rng.uniform(0, 1e-6, num_folds)  # equal folds are equally good
            fold_of[subject] = change.argmin()
            filled[fold_of[subject]] += table[subject]
        cost = float((((filled - ideal) ** 2) * weight).sum())
        if cost < best_cost:
            best_fold_of, best_cost = fold_of, cost
    fold_of_name = dict(zip(names, best_fold_of.tolist(), strict=True))
    return [[i for i, s in enumerate(subjects) if fold_of_name[s] == fold] for fold in range(num_folds)]


def validation_subjects(
    subjects: Sequence[str], labels: Sequence[Hashable], share: float, seed: Sequence[int]
) -> frozenset[str]:
    """Whole subjects to choose an epoch on: that share of them, with about that share of the clips and labels.

    Of several seeded draws the most even is taken.

    Args:
        subjects: Subject of every clip; at least 2 different ones.
        labels: Label of every clip.
        share: Share of the subjects, in 0..1; at least one is taken, and at least one is left.
        seed: Seed of the draws: whole numbers.

    Returns:
        The subjects.
    """
    names = list(dict.fromkeys(subjects))
    place = {name: index for index, name in enumerate(names)}
    strata = np.unique([repr(label) for label in labels], return_inverse=True)[1]
    counts = np.zeros((len(names), int(strata.max()) + 1))
    np.add.at(counts, (np.array([place[subject] for subject in subjects]), strata), 1)
    table = np.hstack([counts, counts.sum(axis=1, keepdims=True)])
    ideal = share * table.sum(axis=0)
    weight = 1 / ideal
    weight[-1] *= counts.shape[1]  # as in subject_folds
    number = min(max(1, round(share * len(names))), len(names) - 1)
    rng = np.random.default_rng([*seed, 2])
    draws = [rng.permutation(len(names))[:number] for _ in range(_ORDERS)]
    costs = [float(((table[draw].sum(axis=0) - ideal) ** 2 * weight).sum()) for draw in draws]
    return frozenset(names[index] for index in draws[int(np.argmin(costs))])


def _strata(labels: Sequence[Hashable], num_folds: int) -> np.ndarray:
    """Class numbers to stratify by, each with at least `num_folds` clips.

    Labels rarer than the folds cannot be in every fold: they share one stratum, and where that is still
    too small, it joins the largest. With fewer clips than folds there is one stratum.
    """
    counts = Counter(labels)
    common = sorted((label for label, count in counts.items() if count >= num_folds), key=repr)
    number = {label: index for index, label in enumerate(common)}
    rare = len(common)
    if common and sum(count for label, count in counts.items() if label not in number) < num_folds:
        rare = number[max(common, key=lambda label: counts[label])]
    return np.array([number.get(label, rare) for label in labels])
