"""An explanation in words and numbers: what `hsta explain` prints, and its JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsta_hf.explanation.explain import METHODS, Explanation, region_table
from hsta_hf.explanation.regions import REGIONS

CLEARLY = 0.95
"""The share of random orders that a map has to beat to be called better than chance."""
_DEPENDS = 0.1  # by how much less the score must be moved by deleting everything for the test to say little
_LABELS = {region.name: region.label for region in REGIONS}


def region_lines(explanation: Explanation, method: str) -> list[str]:
    """A Markdown table of one map: a row per region, per cent of the map's relevance in all and in each tubelet."""
    table = region_table(explanation, method)
    tubelets = list(table.columns[4:])
    head = ["region", "all", "of picture", *tubelets]
    rows = []
    for entry in table.to_dict("records"):
        numbers = [entry["share"], entry["area"], *(entry[name] for name in tubelets)]
        rows.append([_LABELS[entry["region"]], *(f"{100 * number:.1f}" for number in numbers)])
    sums = [1.0, 1.0, *(table[name].sum() for name in tubelets)]
    rows.append(["together", *(f"{100 * number:.1f}" for number in sums)])
    return _markdown(head, rows)


def deletion_lines(explanation: Explanation) -> list[str]:
    """A Markdown table: what the deletion test says of each map."""
    rows = []
    for method, test in explanation.tests.items():
        low, high = np.quantile(test.random_areas, [0.05, 0.95])
        rows.append(
            [
                METHODS[method],
                f"{test.curve.area:.3f}",
                f"{test.random_areas.mean():.3f} ({low:.3f} to {high:.3f})",
                f"{test.reversed_curve.area:.3f}",
                f"{100 * test.beaten:.0f} %",
            ]
        )
    return _markdown(["map", "area", "random orders (90 % of them)", "reversed", "random orders beaten"], rows)


def _markdown(head: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    cells = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    ruler = " | ".join("-" * width for width in widths)
    return [f"| {line} |" for line in [cells[0], ruler, *cells[1:]]]


def verdicts(explanation: Explanation) -> list[str]:
    """What the maps are worth on this clip: a sentence a map, or one where the test can say little of any."""
    test = next(iter(explanation.tests.values()))
    before, still = float(test.curve.scores[0]), float(test.curve.scores[-1])  # the same for all maps
    if abs(before - still) < _DEPENDS:
        return [
            f"The score of {explanation.label_name} hardly depends on movement (a still clip has {still:.2f}), so the "
            "deletion test says little of any map here, however many random orders one beats."
        ]
    return [
        f"{METHODS[method].capitalize()}: deleting in its order beats {100 * test.beaten:.0f} % of random orders, so "
        f"the map is {'better than chance' if test.beaten >= CLEARLY else 'not told from chance'} on this clip."
        for method, test in explanation.tests.items()
    ]


def as_json(explanation: Explanation) -> dict[str, Any]:
    """Everything in the explanation but pictures, fit for JSON."""
    clip = explanation.clip
    return {
        "label": explanation.label_name,
        "scores": dict(zip(explanation.label_names, explanation.scores.round(6).tolist(), strict=True)),
        "frames": {
            "onset": clip.onset,
            "apex": clip.apex,
            "offset": clip.offset,
            "tubelets": {
                name: [
                    {"shows": shows, "frames": list(frames)}
                    for shows, frames in zip(clip.tubelet_names(name), clip.tubelet_frames(name), strict=True)
                ]
                for name in clip.grids
            },
        },
        "maps": {method: _map_json(explanation, method) for method in explanation.maps},
    }


def _map_json(explanation: Explanation, method: str) -> dict[str, Any]:
    test = explanation.tests[method]
    table = region_table(explanation, method)
    return {
        "relevance": {name: values.tolist() for name, values in explanation.maps[method].streams.items()},
        "regions": [
            {
                "region": entry["region"],
                "action_units": list(entry["action_units"]),
                "share": entry["share"],
                "area": entry["area"],
                "tubelets": {name: entry[name] for name in table.columns[4:]},
            }
            for entry in table.to_dict("records")
        ],
        "deletion": {
            "area": test.curve.area,
            "reversed_area": test.reversed_curve.area,
            "random_area": float(test.random_areas.mean()),
            "random_areas": test.random_areas.tolist(),
            "random_orders_beaten": test.beaten,
            "shares_deleted": test.curve.shares.tolist(),
            "scores": test.curve.scores.tolist(),
        },
    }
