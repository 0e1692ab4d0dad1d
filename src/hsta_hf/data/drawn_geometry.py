"""The proportions of a synthetic face: where its parts lie, and how that varies between persons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hsta_hf.data.drawn_canvas import FloatArray, smooth_closed


@dataclass(frozen=True)
class FaceGeometry:
    """Where the parts of one face lie, in face coordinates (pupil distances). Defaults are an average adult."""

    eye_half_width: float = 0.245
    eye_upper: float = 0.105
    eye_lower: float = 0.070
    eye_tilt: float = 0.02
    brow_height: float = 0.36
    brow_inner: float = 0.19
    brow_outer: float = 0.80
    brow_arch: float = 0.08
    brow_thickness: float = 0.085
    brow_slant: float = 0.0
    nose_half_width: float = 0.26
    nose_tip: float = 0.66
    nose_height: float = 0.36
    mouth: float = 1.09
    mouth_half_width: float = 0.41
    mouth_curve: float = 0.0
    upper_lip: float = 0.085
    lower_lip: float = 0.115
    chin: float = 1.76
    cheek_half_width: float = 1.08
    jaw_half_width: float = 0.87
    forehead_half_width: float = 1.05
    crown: float = -1.75
    hairline: float = -1.10

    @classmethod
    def random(cls, rng: np.random.Generator) -> FaceGeometry:
        """A face around the average one; spreads are about those of adults."""

        def around(mean: float, spread: float) -> float:
            return float(mean + spread * np.clip(rng.standard_normal(), -2.0, 2.0))

        average = cls()
        mouth = around(average.mouth, 0.05)
        return cls(
            eye_half_width=around(average.eye_half_width, 0.017),
            eye_upper=around(average.eye_upper, 0.014),
            eye_lower=around(average.eye_lower, 0.009),
            eye_tilt=around(average.eye_tilt, 0.022),
            brow_height=around(average.brow_height, 0.040),
            brow_inner=around(average.brow_inner, 0.030),
            brow_outer=around(average.brow_outer, 0.045),
            brow_arch=around(average.brow_arch, 0.025),
            brow_thickness=around(average.brow_thickness, 0.016),
            brow_slant=around(average.brow_slant, 0.025),
            nose_half_width=around(average.nose_half_width, 0.030),
            nose_tip=around(average.nose_tip, 0.040),
            nose_height=around(average.nose_height, 0.050),
            mouth=mouth,
            mouth_half_width=around(average.mouth_half_width, 0.035),
            mouth_curve=around(average.mouth_curve, 0.018),
            upper_lip=around(average.upper_lip, 0.018),
            lower_lip=around(average.lower_lip, 0.020),
            chin=mouth + around(average.chin - average.mouth, 0.055),
            cheek_half_width=around(average.cheek_half_width, 0.045),
            jaw_half_width=around(average.jaw_half_width, 0.055),
            forehead_half_width=around(average.forehead_half_width, 0.04),
            crown=around(average.crown, 0.06),
            hairline=around(average.hairline, 0.10),
        )

    def outline(self) -> FloatArray:
        """Closed outline of head and jaw, (N, 2), smoothed."""
        half = [
            (0.0, self.crown),
            (0.55 * self.forehead_half_width, self.crown + 0.12),
            (0.90 * self.forehead_half_width, self.crown + 0.52),
            (self.forehead_half_width, -0.72),
            (self.cheek_half_width, -0.10),
            (0.98 * self.cheek_half_width, 0.42),
            (0.5 * self.cheek_half_width + 0.5 * self.jaw_half_width, 0.88),
            (self.jaw_half_width, self.mouth + 0.10),
            (0.70 * self.jaw_half_width, 0.45 * self.mouth + 0.55 * self.chin),
            (0.36 * self.jaw_half_width, self.chin - 0.045),
            (0.0, self.chin),
        ]
        points = half + [(-x, y) for x, y in reversed(half[1:-1])]
        return smooth_closed(np.asarray(points, dtype=np.float32))

    def half_width(self, y: FloatArray) -> FloatArray:
        """Half the head's width at each height `y` (any shape); a little above 0 outside of the head."""
        right = self.outline()
        right = right[right[:, 0] >= 0]
        right = right[np.argsort(right[:, 1], kind="stable")]
        return np.interp(y, right[:, 1], right[:, 0], left=0.0, right=0.0).astype(np.float32)

    def landmarks(self) -> dict[str, tuple[float, float]]:
        """Named points of one face, those on its sides given for x > 0, in face coordinates."""
        brow = -self.brow_height - 0.5 * self.brow_arch
        tip, ala, mouth = self.nose_tip, self.nose_half_width, self.mouth
        return {
            "brow_inner": (self.brow_inner + 0.05, brow + 0.5 * self.brow_slant),
            "brow_middle": (0.5 * (self.brow_inner + self.brow_outer), brow),
            "brow_outer": (self.brow_outer, brow - 0.4 * self.brow_slant),
            "glabella": (0.0, brow + 0.06),
            "upper_lid": (0.5, -self.eye_upper),
            "lower_lid": (0.5, self.eye_lower),
            "outer_canthus": (0.5 + self.eye_half_width, -self.eye_tilt),
            "nose_side": (0.60 * ala, 0.60 * tip),
            "ala": (ala, tip - 0.02),
            "nasolabial": (ala + 0.13, tip + 0.12),
            "cheek": (0.66, 0.46),
            "upper_lip": (0.45 * self.mouth_half_width, mouth - 0.6 * self.upper_lip),
            "upper_lip_centre": (0.0, mouth - 0.6 * self.upper_lip),
            "lower_lip": (0.50 * self.mouth_half_width, mouth + 0.6 * self.lower_lip),
            "lower_lip_centre": (0.0, mouth + 0.6 * self.lower_lip),
            "corner": (self.mouth_half_width, mouth + self.mouth_curve),
            "jaw": (0.62 * self.jaw_half_width, 0.4 * mouth + 0.6 * self.chin),
            "chin_boss": (0.0, self.chin - 0.24),
        }
