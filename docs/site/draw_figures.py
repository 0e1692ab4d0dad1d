"""Draws the figures of the method: python docs/site/draw_figures.py

They say what the paper's figures 1 and 2 say, and CSTA in detail, drawn anew and with the names that the code uses.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from svg import Drawing

IMAGES = Path(__file__).resolve().parents[1] / "images"


def overview() -> Drawing:
    """The whole model: two streams, M HSTA layers, one head."""
    d = Drawing(
        1120,
        400,
        "HSTA",
        "Six video frames and two special frames are embedded, pass M HSTA layers of USTA and CSTA, and a head reads "
        "the two [CLS] tokens.",
    )
    d.words(86, 32, "A clip", bold=True)
    d.frames(34, 62, 6, 58, "video")
    d.words(86, 178, "6 frames, uniformly\nfrom onset to offset", size=12, quiet=True)
    d.frames(60, 238, 2, 66, "special")
    d.words(96, 340, "special frames:\nonset and apex", size=12, quiet=True)
    for y, kind, shape in ((92, "video", "N_v_"), (262, "special", "N_s_")):
        d.arrow((172, y + 28), (204, y + 28), kind=kind)
        d.box(208, y, 138, 56, "Tubelet embedding\n+ positions, + [CLS]", kind, size=13)
        d.arrow((346, y + 28), (394, y + 28), kind=kind)
        d.words(370, y + 8, f"1 + {shape}", size=12, quiet=True)
    d.box(398, 48, 404, 300, "", "group", dashed=True)
    d.words(600, 68, "HSTA layer, M times", bold=True)
    for y, kind, depth in ((92, "video", "L_v_"), (262, "special", "L_s_")):
        for shift in (8, 4, 0):
            d.box(416 + shift, y - shift, 172, 56, "", kind)
        d.words(502, y + 28, f"USTA, {depth} times\nspace and time of one stream", small=11)
        d.arrow((596, y + 28), (620, y + 28), kind=kind)
    d.box(
        624, 92, 134, 226, "CSTA\nboth ways:\neach [CLS] attends\nto the other\nstream's patches", "cross", bold=True
    )
    d.arrow((758, 120), (842, 120), kind="video")
    d.arrow((758, 290), (842, 290), kind="special")
    for y in (120, 290):
        d.circle(780, y, "", "plain", 4)
    d.arrow((780, 120), (780, 374), (408, 374), (408, 296), kind="plain", dashed=True)
    d.arrow((408, 296), (408, 126), kind="plain", dashed=True)
    d.words(600, 386, "to the next layer: [CLS] renewed, patches as they were", size=12, quiet=True)
    for y, kind in ((92, "video"), (262, "special")):
        d.box(846, y, 112, 56, "LayerNorm\nof the [CLS]", kind)
        d.arrow((958, y + 28), (990, y + 28), (990, 176 if y == 92 else 234), kind=kind)
    d.box(948, 178, 84, 54, "side by side\nspecial ‖ video", "plain", size=12, small=10)
    d.arrow((1032, 205), (1048, 205))
    d.box(1052, 170, 56, 70, "Linear\nhead", "plain", size=13)
    d.arrow((1080, 240), (1080, 286))
    d.words(1080, 304, "scores of\nthe classes", size=12, small=12)
    return d


def layer() -> Drawing:
    """One HSTA layer on tokens."""
    d = Drawing(
        960,
        520,
        "One HSTA layer",
        "USTA layers work on each stream alone; then CSTA renews each [CLS] from the other stream's patches, and the "
        "patches pass unchanged.",
    )
    d.box(24, 92, 912, 178, "", "group", dashed=True)
    d.words(
        838, 180, "USTA\nwithin a stream:\nall tokens, of all places\nand moments, attend\nto each other", bold=True
    )
    d.box(24, 294, 912, 140, "", "group", dashed=True)
    d.words(838, 364, "CSTA\nacross the streams:\nonly the two [CLS]\nare renewed", bold=True)
    for x, kind, name, depth, count in (
        (60, "video", "Video stream", "L_v_", 12),
        (520, "special", "Special stream", "L_s_", 8),
    ):
        width = 50 + count * 21
        d.words(x + width / 2, 24, name, bold=True)
        d.tokens(x, 46, count, kind)
        d.arrow((x + 22, 68), (x + 22, 132), kind=kind)
        d.arrow((x + 50 + count * 10.5, 68), (x + 50 + count * 10.5, 132), kind=kind)
        d.box(x, 136, width, 44, "USTA 1", kind)
        d.arrow((x + width / 2, 180), (x + width / 2, 208), kind=kind)
        d.box(x, 212, width, 44, f"… USTA {depth}", kind)
        d.arrow((x + 22, 256), (x + 22, 338), kind=kind)
        d.arrow((x + 50 + count * 10.5, 256), (x + 50 + count * 10.5, 478), kind=kind)
        d.box(x - 14, 342, 74, 72, "attend\nquery: [CLS]", "cross", small=10)
        d.arrow((x + 22, 414), (x + 22, 478), kind=kind)
        d.tokens(x, 482, count, kind)
    # Keys and values come from the other stream.
    d.arrow((654, 396), (654, 426), (300, 426), (300, 396), (124, 396), kind="special")
    d.arrow((236, 362), (440, 362), (440, 378), (502, 378), kind="video")
    d.words(346, 346, "keys, values: video patches", size=11, quiet=True)
    d.words(408, 412, "keys, values: special patches", size=11, quiet=True)
    for x in (246, 664):
        d.words(x, 452, "patches unchanged", size=11, quiet=True, anchor="start")
    return d


def usta() -> Drawing:
    """USTA in the two block styles."""
    d = Drawing(
        960,
        500,
        "USTA in two styles",
        "The released style is a pre-norm VideoMAE encoder layer with several heads and an MLP; the paper's is one "
        "head, a residual and a LayerNorm.",
    )
    d.words(250, 28, 'block_style: "released" (default)', bold=True)
    d.words(730, 28, 'block_style: "paper" (eqs. 1-4)', bold=True)
    for x in (40, 520):
        d.words(x + 42, 250, "z: [CLS]\nand patches\n(1 + N) × d", size=14)  # noqa: RUF001
    # Released: LayerNorm, attention, +, LayerNorm, MLP, +.
    y = 62
    for name, step in (
        ("z", 0),
        ("LayerNorm", 1),
        ("Attention, several heads\nsoftmax(q kᵀ / √d_h_) v, projection", 2),
        ("+", 3),
        ("LayerNorm", 4),
        ("MLP\nLinear, GELU, Linear", 5),
        ("+", 6),
    ):
        place = y + step * 62
        if name == "+":
            d.circle(290, place, "+", "video")
        elif name == "z":
            d.words(290, place, "z", bold=True)
        else:
            d.box(180, place - 21, 220, 42, name, "video", size=14, small=11)
        if step:
            start = place - 62 + (13 if step in (1, 4) else 21)
            d.arrow((290, start), (290, place - (13 if name == "+" else 21) - 2), kind="video")
    for top, bottom in ((y + 16, y + 3 * 62), (y + 3 * 62 + 18, y + 6 * 62)):
        d.arrow((290, top + 2), (430, top + 2), (430, bottom), (305, bottom), kind="plain", dashed=True)
    d.words(290, 474, "new z: a VideoMAE layer's weights load into it as they are", size=12, quiet=True)
    for step, name in enumerate(
        ("z", "q, k, v = z W_q_, z W_k_, z W_v_", "one head\nsoftmax(q kᵀ / √d) v", "+", "LayerNorm")
    ):
        place = y + step * 78
        if name == "+":
            d.circle(770, place, "+", "special")
        elif name == "z":
            d.words(770, place, "z", bold=True)
        else:
            d.box(660, place - 23, 220, 46, name, "special", size=14, small=12)
        if step:
            start = place - 78 + (13 if step in (1, 4) else 23)
            d.arrow((770, start), (770, place - (13 if name == "+" else 23) - 2), kind="special")
    d.arrow((770, y + 18), (910, y + 18), (910, y + 3 * 78), (785, y + 3 * 78), kind="plain", dashed=True)
    d.words(770, 430, "new z", size=12, quiet=True)
    return d


def csta() -> Drawing:
    """One direction of CSTA."""
    d = Drawing(
        1040,
        420,
        "CSTA, one direction",
        "The video stream's [CLS] is projected to the special stream's width, queries itself and the special patches, "
        "is added to what it found, and is projected back.",
    )
    d.words(102, 74, "video stream", size=13, quiet=True)
    d.box(70, 92, 64, 34, "[CLS]", "video", bold=True)
    d.arrow((134, 109), (172, 109), kind="video")
    d.box(176, 78, 128, 62, "MLP1\nLayerNorm, GELU,\nLinear: d_v_ → d_s_", "cross", small=11)
    d.arrow((304, 109), (358, 109), kind="cross")
    d.words(330, 92, "v_C_", size=14)
    d.words(120, 296, "special stream", size=13, quiet=True)
    d.tokens(36, 312, 8, "special", cls=False)
    d.arrow((206, 321), (376, 321), (376, 244), kind="special")
    d.circle(376, 109, "·", "cross", 4)
    d.arrow((376, 113), (376, 198), kind="cross")
    d.box(318, 202, 116, 40, "[v_C_ ‖ patches]", "plain", size=13)
    d.arrow((434, 222), (462, 222))
    d.box(466, 198, 92, 48, "LayerNorm\nreleased only", "plain", size=13, small=10, dashed=True)
    d.arrow((558, 222), (574, 222), (574, 196), (598, 196))
    d.arrow((574, 222), (574, 262), (598, 262))
    d.arrow((512, 198), (512, 142), (598, 142), kind="cross", dashed=True)
    d.words(552, 130, "its first row", size=11, quiet=True)
    for y, name in ((142, "q = v_C_ W_q_"), (196, "k = [v_C_ ‖ s] W_k_"), (262, "v = [v_C_ ‖ s] W_v_")):
        d.box(602, y - 19, 130, 38, name, "plain", size=13)
    d.arrow((732, 142), (776, 142), (776, 184))
    d.arrow((732, 196), (756, 196))
    d.arrow((732, 262), (776, 262), (776, 228))
    d.box(758, 186, 130, 40, "softmax(q kᵀ/√d) v", "cross", size=13)
    d.arrow((888, 206), (912, 206), (912, 124), kind="cross")
    d.arrow((380, 109), (897, 109), kind="cross")
    d.words(800, 94, "residual", size=11, quiet=True)
    d.circle(912, 109, "+", "cross")
    d.arrow((912, 96), (912, 66), kind="cross")
    d.box(848, 14, 128, 50, "MLP2\nLayerNorm, GELU,\nLinear: d_s_ → d_v_", "cross", small=10, size=13)
    d.arrow((848, 39), (720, 39), kind="video")
    d.box(640, 22, 76, 34, "[CLS]", "video", bold=True)
    d.words(628, 39, "the video stream's new", size=12, quiet=True, anchor="end")
    d.arrow((120, 336), (120, 376), (640, 376), kind="special")
    d.words(650, 376, "special patches, unchanged", size=12, quiet=True, anchor="start")
    d.words(
        36,
        404,
        "The other direction is the same with the streams exchanged; both read the streams as they were before.",
        size=12,
        quiet=True,
        anchor="start",
    )
    return d


FIGURES = {"hsta_overview": overview, "hsta_layer": layer, "usta": usta, "csta": csta}


def main() -> None:
    for name, draw in FIGURES.items():
        (IMAGES / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
