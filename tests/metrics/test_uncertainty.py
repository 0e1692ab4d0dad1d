"""Bootstrap over people, paired permutation test, Holm: against slow implementations and by simulation."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from hsta_hf.metrics.tables import SubjectCounts, count_subjects
from hsta_hf.metrics.uncertainty import (
    ComparisonError,
    compare_tables,
    holm,
    subject_intervals,
    subject_mean_interval,
)

LABELS = ("negative", "positive", "surprise")


def table(
    rng: np.random.Generator, people: int, skill: float, labels: list[np.ndarray] | None = None, seeds: int = 1
) -> pd.DataFrame:
    """People with one to twelve clips each; some people are easier than others."""
    labels = labels or [rng.choice(3, size=rng.integers(1, 13), p=[0.5, 0.3, 0.2]) for _ in range(people)]
    rows = []
    for seed in range(seeds):
        for person, true in enumerate(labels):
            right = rng.random(len(true)) < np.clip(skill + rng.normal(0, 0.1), 0, 1)
            guess = np.where(right, true, rng.integers(0, 3, len(true)))
            rows += [
                {"clip": f"c{i}", "subject": f"s{person}", "seed": seed, "label": int(t), "prediction": int(p)}
                for i, (t, p) in enumerate(zip(true, guess, strict=True))
            ]
    return pd.DataFrame(rows)


def pooled(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Mean over seeds of what scikit-learn gives."""
    by_seed = [
        (
            f1_score(part["label"], part["prediction"], average="macro"),
            recall_score(part["label"], part["prediction"], average="macro", zero_division=np.nan),
            accuracy_score(part["label"], part["prediction"]),
        )
        for _, part in rows.groupby("seed")
    ]
    return tuple(np.mean(by_seed, axis=0))


def counts_of(rows: pd.DataFrame) -> SubjectCounts:
    return count_subjects(rows, 3)


@pytest.mark.parametrize("seed", range(5))
def test_any_resample_scores_what_scikit_learn_gives_for_its_clips(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = table(rng, 6, 0.6, seeds=3)
    counts = counts_of(rows)
    assert tuple(counts.pooled().values()) == pytest.approx(pooled(rows), abs=1e-12)
    weights = np.concatenate([rng.multinomial(6, np.full(6, 1 / 6), 20), np.eye(6, dtype=int)])
    found = counts.scores(weights.astype(float))
    for number, weight in enumerate(weights):
        drawn = [
            rows[rows["subject"] == p] for p, times in zip(counts.people, weight, strict=True) for _ in range(times)
        ]
        expected = pooled(pd.concat(drawn))
        assert tuple(found[name][number] for name in ("uf1", "uar", "acc")) == pytest.approx(expected, abs=1e-12)


def test_several_labels_a_clip_score_what_scikit_learn_gives() -> None:
    rng = np.random.default_rng(0)
    true, predicted = ((rng.random((40, 4)) < share).astype(int) for share in (0.4, 0.5))
    rows = pd.DataFrame({"subject": [f"s{i % 7}" for i in range(40)], "label": true.tolist()})
    rows["prediction"] = predicted.tolist()
    counts = count_subjects(rows, 4)
    assert counts.pooled() == {
        "mean_f1": pytest.approx(f1_score(true, predicted, average="macro", zero_division=np.nan)),
        "exact_match": pytest.approx(accuracy_score(true, predicted)),
    }
    intervals = subject_intervals(counts)
    assert intervals is not None
    assert intervals["mean_f1"][0] < counts.pooled()["mean_f1"] < intervals["mean_f1"][1]
    with pytest.raises(ValueError, match="row 1: label must be 5 zeros and ones"):
        count_subjects(rows, 5)


def test_people_of_two_databases_with_one_name_are_two() -> None:
    rows = table(np.random.default_rng(0), 4, 0.5)
    both = pd.concat([rows.assign(database="casme2"), rows.assign(database="samm")])
    assert len(counts_of(both).people) == 8
    cast = pd.concat([rows.assign(database="casme3"), rows.assign(database="casme3_macro")])
    assert len(counts_of(cast).people) == 4


def test_intervals_are_repeated_by_a_seed_and_narrow_with_people() -> None:
    rng = np.random.default_rng(2)
    few, many = counts_of(table(rng, 12, 0.6)), counts_of(table(rng, 300, 0.6))
    assert subject_intervals(few, seed=5) == subject_intervals(few, seed=5) != subject_intervals(few, seed=6)
    widths = [high - low for low, high in (subject_intervals(c)["uf1"] for c in (few, many))]  # type: ignore[index]
    assert 3 < widths[0] / widths[1] < 8  # the root of 25 is 5
    wide, narrow = (subject_intervals(few, level=level)["acc"] for level in (0.95, 0.5))  # type: ignore[index]
    assert wide[0] < narrow[0] < few.pooled()["acc"] < narrow[1] < wide[1]


def test_an_interval_of_a_mean_is_that_of_the_t_distribution() -> None:
    """One clip a person: the accuracy is a mean of many, for which theory has the interval."""
    right = np.arange(400) % 3 == 0
    rows = pd.DataFrame({"subject": [f"s{i}" for i in range(400)], "label": 0, "prediction": np.where(right, 0, 1)})
    low, high = subject_intervals(count_subjects(rows, 2), samples=20000)["acc"]  # type: ignore[index]
    share = right.mean()
    half = 1.96 * math.sqrt(share * (1 - share) / 400)
    assert (low, high) == (pytest.approx(share - half, abs=0.006), pytest.approx(share + half, abs=0.006))


def test_who_is_always_right_has_an_interval_of_no_width_and_one_person_has_none() -> None:
    rows = table(np.random.default_rng(0), 5, 0.5)
    perfect = rows.assign(prediction=rows["label"])
    assert subject_intervals(counts_of(perfect)) == dict.fromkeys(("uf1", "uar", "acc"), (1.0, 1.0))
    assert subject_intervals(counts_of(rows[rows["subject"] == "s0"])) is None
    with pytest.raises(ValueError, match="1 or more; got 0"):
        subject_intervals(counts_of(rows), samples=0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        subject_intervals(counts_of(rows), level=95)


def test_the_interval_of_a_mean_over_clips_is_that_of_the_accuracy() -> None:
    rows = table(np.random.default_rng(1), 9, 0.6)
    right = (rows["label"] == rows["prediction"]).astype(float)
    found = subject_mean_interval(right.tolist(), rows["subject"].tolist())
    assert found == pytest.approx(subject_intervals(counts_of(rows))["acc"])  # type: ignore[index]
    assert subject_mean_interval([0.5, 1.0], ["a", "a"]) is None


def test_two_thousand_resamples_of_68_people_take_well_under_a_second() -> None:
    counts = counts_of(table(np.random.default_rng(0), 68, 0.6, seeds=3))
    start = time.perf_counter()
    subject_intervals(counts)
    assert time.perf_counter() - start < 1


def two_methods(
    seed: int, people: int, skills: tuple[float, float], seeds: int = 1
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    labels = [rng.choice(3, size=rng.integers(1, 9), p=[0.5, 0.3, 0.2]) for _ in range(people)]
    return table(rng, people, skills[0], labels, seeds), table(rng, people, skills[1], labels, seeds)


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_exact_test_is_the_one_done_by_hand(seeds: int) -> None:
    first, second = two_methods(3, 5, (0.8, 0.4), seeds)
    found = compare_tables(first, second, LABELS, LABELS)
    people = sorted(set(first["subject"]))
    observed = np.subtract(pooled(first), pooled(second))
    extreme = np.zeros(3)
    for swap in itertools.product([False, True], repeat=5):
        swapped = first["subject"].map(dict(zip(people, swap, strict=True)))
        one = first.assign(prediction=first["prediction"].where(~swapped, second["prediction"]))
        other = second.assign(prediction=second["prediction"].where(~swapped, first["prediction"]))
        extreme += np.abs(np.subtract(pooled(one), pooled(other))) >= np.abs(observed) - 1e-12
    assert found.exact and [d.p for d in found.scores.values()] == pytest.approx(list(extreme / 32))
    assert [d.difference for d in found.scores.values()] == pytest.approx(list(observed))
    back = compare_tables(second, first, LABELS, LABELS)
    assert [d.p for d in back.scores.values()] == pytest.approx(list(extreme / 32))


def test_drawn_swaps_agree_with_all_swaps(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two_methods(1, 12, (0.7, 0.5))
    exact = compare_tables(first, second, LABELS, LABELS)
    monkeypatch.setattr("hsta_hf.metrics.uncertainty.EXACT_PEOPLE", 0)
    drawn = compare_tables(first, second, LABELS, LABELS, permutations=20000)
    assert exact.exact and not drawn.exact and drawn.permutations == 20000
    for name, difference in drawn.scores.items():
        assert difference.p == pytest.approx(exact.scores[name].p, abs=0.015)
        assert difference.interval == exact.scores[name].interval


def test_a_clear_difference_is_found_and_none_between_a_method_and_itself() -> None:
    first, second = two_methods(0, 40, (0.9, 0.4))
    better = compare_tables(first, second, LABELS, LABELS).scores["uf1"]
    assert better.p == pytest.approx(1 / 10000) and better.interval is not None and better.interval[0] > 0
    same = compare_tables(first, first, LABELS, LABELS).scores["uf1"]
    assert (same.difference, same.interval, same.p) == (0, (0, 0), 1)


def test_clips_of_one_table_only_are_left_out_and_counted() -> None:
    first, second = two_methods(0, 6, (0.8, 0.5))
    whole = compare_tables(first, second, LABELS, LABELS)
    more = pd.concat([first, first.iloc[:2].assign(clip=["x", "y"])]).sample(frac=1, random_state=0)
    found = compare_tables(more, second.sample(frac=1, random_state=1), LABELS, LABELS)
    assert (found.left_out_first, found.left_out_second, found.clips) == (2, 0, whole.clips)
    assert {n: (d.difference, d.p) for n, d in found.scores.items()} == {
        n: (pytest.approx(d.difference), d.p) for n, d in whole.scores.items()
    }
    one_sided = compare_tables(first, second.iloc[3:], LABELS, LABELS)
    assert (one_sided.left_out_first, one_sided.clips) == (3, whole.clips - 3)


def test_seeds_are_partners_by_number_then_by_order_and_one_seed_is_everybodys() -> None:
    first, second = two_methods(0, 6, (0.8, 0.5), seeds=3)
    assert compare_tables(first, second, LABELS, LABELS).seeds == ((0, 0), (1, 1), (2, 2))
    fewer = compare_tables(first, second[second["seed"] > 0], LABELS, LABELS)
    assert fewer.seeds == ((1, 1), (2, 2)) and fewer.seeds_left_out_first == (0,)
    later = second.assign(seed=second["seed"] + 10)
    assert compare_tables(first, later, LABELS, LABELS).seeds == ((0, 10), (1, 11), (2, 12))
    single = compare_tables(first, second[second["seed"] == 2], LABELS, LABELS)
    assert single.seeds == ((0, 2), (1, 2), (2, 2))
    assert single.scores["uf1"].second == pytest.approx(pooled(second[second["seed"] == 2])[0])
    with pytest.raises(ComparisonError, match="seeds cannot be paired: 0, 1, 2 and 11, 12"):
        compare_tables(first, later[later["seed"] > 10], LABELS, LABELS)


def test_what_cannot_be_compared_is_refused() -> None:
    first, second = two_methods(0, 4, (0.8, 0.5))
    with pytest.raises(ComparisonError, match="other classes: negative, positive, surprise and a, b, c"):
        compare_tables(first, second, LABELS, ("a", "b", "c"))
    wrong = second.copy()
    wrong.loc[3, "label"] = (wrong.loc[3, "label"] + 1) % 3
    with pytest.raises(ComparisonError, match=r"Clip c\d+ of subject s\d has the label \d in the first table and \d"):
        compare_tables(first, wrong, LABELS, LABELS)
    with pytest.raises(ComparisonError, match="The second table has clip c0 of subject s0 twice for seed 0"):
        compare_tables(first, pd.concat([second, second.iloc[:1]]), LABELS, LABELS)
    with pytest.raises(ComparisonError, match=r"No clip is in both.*c0 of subject s0 and clip c0 of subject other0"):
        compare_tables(first, second.assign(subject="other" + second["subject"].str[1:]), LABELS, LABELS)
    with pytest.raises(ComparisonError, match="The first table has no column subject"):
        compare_tables(first.drop(columns="subject"), second, LABELS, LABELS)
    several = second.assign(label=[[1, 0, 0]] * len(second), prediction=[[1, 0, 0]] * len(second))
    with pytest.raises(ComparisonError, match="one label a clip, the other has several"):
        compare_tables(first, several, LABELS, LABELS)


def test_one_person_gives_no_interval_and_no_p() -> None:
    first, second = (part[part["subject"] == "s1"] for part in two_methods(0, 4, (0.8, 0.5)))
    found = compare_tables(first, second, LABELS, LABELS).scores["acc"]
    assert found.interval is None and found.p is None and found.difference == found.first - found.second


def test_several_labels_a_clip_are_compared() -> None:
    rng = np.random.default_rng(0)
    true = (rng.random((60, 4)) < 0.4).astype(int)
    tables = []
    for wrong in (0.1, 0.4):
        predicted = np.where(rng.random((60, 4)) < wrong, 1 - true, true)
        rows = pd.DataFrame({"clip": [str(i) for i in range(60)], "subject": [f"s{i % 15}" for i in range(60)]})
        tables.append(rows.assign(label=true.tolist(), prediction=predicted.tolist()))
    found = compare_tables(*tables, list("abcd"), list("abcd")).scores["mean_f1"]
    assert found.p is not None and found.p < 0.01 and found.difference > 0.1


def test_holm_is_the_textbook_example_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0] and holm([]) == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([1.2])


def study(rng: np.random.Generator, people: int, classes: int) -> SubjectCounts:
    """People of a simulated database: each has a skill, a mix of classes, and a number of clips of their own."""
    prior = np.full(classes, 1 / classes)
    clips, skills = 1 + rng.geometric(1 / 6, people), rng.beta(6, 3, people)
    mixes = rng.dirichlet(prior * 6, people)
    values = np.zeros((people, 1, 3 * classes + 2))
    for person in range(people):
        true = rng.choice(classes, clips[person], p=mixes[person])
        right = rng.random(clips[person]) < skills[person] * (1 - 0.05 * true)
        guess = np.where(right, true, rng.choice(classes, clips[person], p=prior))
        t, p = (x[:, None] == np.arange(classes) for x in (true, guess))
        values[person, 0] = [*(t & p).sum(0), *(~t & p).sum(0), *(t & ~p).sum(0), (true == guess).sum(), len(true)]
    return SubjectCounts(tuple(map(str, range(people))), (0,), values, False)


@pytest.mark.slow
@pytest.mark.parametrize(("people", "classes"), [(68, 3), (10, 7)])
def test_intervals_hold_the_true_score_about_as_often_as_they_say(people: int, classes: int) -> None:
    rng = np.random.default_rng(7)
    truth = study(rng, 40000, classes).pooled()
    held = dict.fromkeys(truth, 0)
    for number in range(400):
        intervals = subject_intervals(study(rng, people, classes), samples=1000, seed=number)
        assert intervals is not None
        for name, (low, high) in intervals.items():
            held[name] += low <= truth[name] <= high
    # 95 of 100; three standard errors of 400 draws are 0.033.
    assert all(0.91 <= number / 400 <= 0.985 for number in held.values()), held


@pytest.mark.slow
@pytest.mark.parametrize("people", [8, 30])
def test_the_paired_test_cries_wolf_no_more_often_than_it_says(people: int) -> None:
    p_values = []
    for seed in range(400):
        first, second = two_methods(1000 + seed, people, (0.6, 0.6))
        found = compare_tables(first, second, LABELS, LABELS, samples=1, permutations=499, seed=seed)
        p_values.append([difference.p for difference in found.scores.values()])
    for bound in (0.05, 0.2):
        shares = (np.array(p_values) <= bound).mean(axis=0)
        error = 3 * math.sqrt(bound * (1 - bound) / 400)
        assert (shares <= bound + error).all(), shares
        assert shares[0] >= bound - error, shares  # ACC and UAR of few people tie often, which errs on the safe side
