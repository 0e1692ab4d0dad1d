"""What a measured table says as text."""

from __future__ import annotations

from dataclasses import replace

from hsta_hf.ablation.claims import ClaimOutcome
from hsta_hf.ablation.rendering import as_html, as_markdown, claims_grid, intro, scores_grid, untested
from hsta_hf.ablation.results import Line, MeasuredTable
from hsta_hf.paper.tables import ALL_CLIPS, load_tables

KFOLD = "kfold-subjects"


def table() -> MeasuredTable:
    """Table 2 with a line that compares with the paper, one that does not, and one that was not measured."""
    paper = load_tables()["table2"]
    values = {"paper": {"uf1": 30.0}, "measured": {"uf1": 0.41}, "differences": {"uf1": 11.0}}
    fair = Line("a1", "one", ALL_CLIPS, KFOLD, "a1", **values)
    lines = (fair, replace(fair, row="a2", notes=(1,)), replace(fair, row="a3", differences={}, measured={}))
    tested, *rest = paper.claims
    claims = (
        ClaimOutcome(tested, "table2", KFOLD, "holds", (), 0.1, (0.05, 0.2), 0.01, 0.02, 40),
        ClaimOutcome(rest[0], "table2", KFOLD, "not tested", (), why="no results of a3, a4", lacking=("a3", "a4")),
        ClaimOutcome(rest[1], "table2", KFOLD, "not tested", (), why="no results of a4", lacking=("a4",)),
        ClaimOutcome(rest[2], "table2", KFOLD, "not tested", (), why="other labels"),
    )
    return MeasuredTable(
        "table2", "A title", "4", "kfold-clips, 5 folds", (KFOLD,), {KFOLD: 3}, lines, ("Other clips.",), claims
    )


def test_a_difference_that_compares_nothing_is_in_brackets() -> None:
    grid = scores_grid(table())
    column = grid.header.index("difference")
    assert [row[column] for row in grid.rows] == ["+11.0", "(+11.0)", "–"]  # noqa: RUF001


def test_the_measured_folds_have_their_number() -> None:
    assert intro(table())[0].endswith(
        "paper's figures: kfold-clips, 5 folds; of the measured ones: kfold-subjects, 3 folds."
    )
    both = replace(table(), protocols=(KFOLD, "loso"))
    assert intro(both)[0].endswith("of the measured ones: kfold-subjects, 3 folds; loso.")


def test_claims_that_rows_lack_for_are_one_sentence() -> None:
    verdicts = [row[2] for row in claims_grid(table()).rows]
    assert verdicts == ["holds", "not tested: other labels"]
    sentence = "Not tested: 2 claims, for which there are no results of a3, a4."
    assert untested(table()) == sentence
    assert sentence in as_markdown(table()) and sentence in as_html(table())
    only = replace(table(), claims=table().claims[1:3])
    for text in (as_markdown(only), as_html(only)):
        assert sentence in text and "verdict" not in text and "permutation" not in text
    other = ClaimOutcome(only.claims[0].claim, "table2", "loso", "not tested", (), why="x", lacking=("a5",))
    several = replace(only, protocols=(KFOLD, "loso"), claims=(*only.claims, other))
    assert untested(several) == (
        "Not tested: 2 claims (kfold-subjects), for which there are no results of a3, a4; 1 claim (loso), for which "
        "there are no results of a5."
    )
    assert untested(replace(table(), claims=table().claims[:1])) is None
