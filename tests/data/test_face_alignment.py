"""Detection and alignment of faces: with the detector's file beside the checkout, and without it."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from hsta_hf.data import face_detector
from hsta_hf.data.decode import FaceNotFoundError
from hsta_hf.data.face_alignment import FaceAligner
from hsta_hf.data.face_detector import Face, FaceDetector, detector_weights
from hsta_hf.data.face_geometry import TEMPLATE, compose, fit_similarity, transform_points, warp_similarity
from hsta_hf.video_reading_hsta import VideoFileReader

EVEN = np.ones(5)


def similarity(scale: float, degrees: float, right: float, down: float) -> np.ndarray:
    a = scale * np.exp(1j * np.deg2rad(degrees))
    return np.array([[a.real, -a.imag, right], [a.imag, a.real, down]])


class KnownFaces:
    """A detector that sees what it is told."""

    score_threshold = 0.6

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def detect(self, frame: np.ndarray) -> list[Face]:
        return sorted(self.faces, key=lambda face: face.area, reverse=True)

    def refine(self, frame: np.ndarray, face: Face) -> Face:
        return face


def face_at(matrix: np.ndarray, side: float = 90.0) -> Face:
    """A face whose landmarks are the template's, of a crop of 100 pixels, moved by `matrix`."""
    return Face((10.0, 10.0, side, side), transform_points(matrix, TEMPLATE * 100 - 0.5), 0.9)


def blobs(points: np.ndarray, size: int = 240, sigma: float = 2.5) -> np.ndarray:
    """A picture (size, size, 3) with a round spot at each of the points (x, y)."""
    y, x = np.mgrid[:size, :size]
    spots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)) for px, py in points)
    return np.repeat(np.uint8(np.clip(spots * 230, 0, 255))[..., None], 3, axis=2)


def centre(picture: np.ndarray, near: np.ndarray, reach: int = 7) -> np.ndarray:
    """(x, y) of the centre of mass of the spot near a place."""
    x0, y0 = np.round(near).astype(int) - reach
    part = picture[y0 : y0 + 2 * reach + 1, x0 : x0 + 2 * reach + 1, 0].astype(float)
    y, x = np.mgrid[y0 : y0 + 2 * reach + 1, x0 : x0 + 2 * reach + 1]
    return np.array([(part * x).sum(), (part * y).sum()]) / part.sum()


# --- geometry ------------------------------------------------------------------------------------------------------


def test_fit_gives_back_the_similarity_that_moved_the_points() -> None:
    points = TEMPLATE * 100
    wanted = similarity(1.7, 23, -40, 12)
    assert np.allclose(fit_similarity(points, transform_points(wanted, points), np.array([3, 1, 0.5, 1, 2])), wanted)


def test_fit_is_a_similarity_even_if_the_points_ask_for_more() -> None:
    points = TEMPLATE * 100
    mirrored = points * [-1, 1]
    for target in (points * [1.4, 1.0], mirrored, points[::-1]):
        (a, b, _), (c, d, _) = fit_similarity(points, target, EVEN)
        assert a == d and b == -c  # turn and scale, no shear and no mirror


def test_fit_is_the_least_squares_solution() -> None:
    random = np.random.default_rng(5)
    source, target, weights = random.normal(size=(5, 2)), random.normal(size=(5, 2)), random.uniform(0.1, 1, 5)
    rows, wanted = [], []
    for (x, y), (u, v), weight in zip(source, target, weights, strict=True):
        rows += [weight**0.5 * np.array([x, -y, 1, 0]), weight**0.5 * np.array([y, x, 0, 1])]
        wanted += [weight**0.5 * u, weight**0.5 * v]
    a, b, right, down = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
    assert np.allclose(fit_similarity(source, target, weights), [[a, -b, right], [b, a, down]])


def test_landmarks_in_one_place_are_refused() -> None:
    with pytest.raises(ValueError, match="one place"):
        fit_similarity(np.ones((5, 2)), TEMPLATE, EVEN)


def test_compose_does_the_first_first() -> None:
    first, second = similarity(2, 30, 5, -3), similarity(0.7, -50, 1, 9)
    points = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert np.allclose(
        transform_points(compose(second, first), points), transform_points(second, transform_points(first, points))
    )


# --- resampling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.21, 0.5, 0.83, 1.0, 1.6])
def test_pixels_come_where_the_matrix_says(scale: float) -> None:
    points = np.array([[70.3, 60.8], [150.1, 90.6], [110.5, 170.2]])
    size = round(240 * scale) + 30
    matrix = similarity(scale, 4, 16.3, 6.7)
    sigma = max(2.5, 1.2 / scale)
    crop = warp_similarity(blobs(points, sigma=sigma), matrix, size)
    for point in transform_points(matrix, points):
        assert np.abs(centre(crop, point, round(3.5 * sigma * scale)) - point).max() < 0.08


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((240, 240, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = warp_similarity(stripes, similarity(0.23, 0, 3, 3), 40)
    assert crop[8:32, 8:32].std() < 12  # cv2.warpAffine alone leaves three times that
    assert abs(float(crop[8:32, 8:32].mean()) - 127.5) < 3
    plain = cv2.warpAffine(stripes, similarity(0.23, 0, 3, 3), (40, 40))
    assert plain[8:32, 8:32].std() > 36


def test_outside_the_picture_its_edge_is_repeated() -> None:
    frame = np.full((50, 60, 3), 90, np.uint8)
    frame[0] = 200
    crop = warp_similarity(frame, similarity(1, 0, 0, 30), 60)
    assert (crop[:29] == 200).all() and (crop[35:] == 90).all()


def test_grey_frames_stay_grey() -> None:
    frame = blobs(np.array([[40.0, 50.0]]), 100)
    matrix = similarity(0.8, 10, 3, 3)
    assert np.array_equal(warp_similarity(frame[..., 0], matrix, 64), warp_similarity(frame, matrix, 64)[..., 0])


# --- the aligner with known faces ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 224])
def test_landmarks_go_to_the_template(size: int) -> None:
    where = similarity(1.3, -17, 60, 70)
    fit = FaceAligner(size=size, detector=KnownFaces(face_at(where))).fit(np.zeros((240, 240, 3), np.uint8))
    assert np.allclose(fit.landmarks, TEMPLATE * size - 0.5)
    assert fit.size == size and fit.num_faces == 1 and fit.matrix.shape == (2, 3)
    crop = fit(blobs(fit.face.landmarks))
    assert crop.shape == (size, size, 3)
    for point in fit.landmarks:
        assert np.abs(centre(crop, point, 4) - point).max() < 0.6


def test_the_eyes_decide_where_the_other_landmarks_disagree() -> None:
    face = face_at(similarity(1.3, 0, 50, 50))
    turned = face.landmarks + np.array([[0, 0], [0, 0], [9, 0], [6, 0], [6, 0]])
    frame = np.zeros((240, 240, 3), np.uint8)
    moved = FaceAligner(size=100, detector=KnownFaces(Face(face.box, turned, 0.9))).fit(frame)
    even = transform_points(fit_similarity(turned, TEMPLATE * 100 - 0.5, EVEN), turned)
    eyes = (TEMPLATE * 100 - 0.5)[:2]
    assert np.abs(moved.landmarks[:2] - eyes).max() < np.abs(even[:2] - eyes).max() / 2


def test_every_frame_of_a_clip_gets_the_onsets_transform() -> None:
    where = similarity(1.2, 5, 60, 50)
    detector = KnownFaces(face_at(where))
    fit = FaceAligner(size=96, detector=detector).fit(np.zeros((240, 240, 3), np.uint8))
    detector.faces = []  # nobody is looked for any more
    later = blobs(fit.face.landmarks + np.array([3.0, -2.0]))
    shift = fit.matrix[:, :2] @ [3.0, -2.0]
    for point in fit.landmarks:  # the movement is still there, as large as it was
        assert np.abs(centre(fit(later), point + shift, 4) - point - shift).max() < 0.6


def test_the_largest_face_is_taken_and_the_number_told() -> None:
    small, large = face_at(similarity(0.5, 0, 0, 0), side=40), face_at(similarity(1.5, 0, 70, 60), side=120)
    fit = FaceAligner(detector=KnownFaces(small, large)).fit(np.zeros((240, 240, 3), np.uint8))
    assert fit.num_faces == 2 and fit.face is large


def test_without_a_face_there_is_no_crop() -> None:
    with pytest.raises(FaceNotFoundError, match=r"no face.*320x240.*0\.6"):
        FaceAligner(detector=KnownFaces()).fit(np.zeros((240, 320, 3), np.uint8))


def test_a_crop_of_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match="16 or more, not 0"):
        FaceAligner(size=0, detector=KnownFaces())


# --- stabilising ---------------------------------------------------------------------------------------------------


def textured(size: int = 240) -> np.ndarray:
    noise = np.random.default_rng(2).integers(0, 256, (size, size)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    smooth = (smooth - smooth.mean()) / smooth.std() * 45 + 128
    return np.repeat(np.uint8(np.clip(smooth, 0, 255))[..., None], 3, axis=2)


def test_stabilising_undoes_the_heads_motion_and_keeps_the_expression() -> None:
    onset = textured()
    drift = similarity(1.004, 0.6, 1.1, -0.9)
    later = cv2.warpAffine(onset, drift, (240, 240), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    face = face_at(similarity(1.6, 0, 30, 30))
    fit = FaceAligner(size=160, stabilise=True, detector=KnownFaces(face)).fit(onset)
    plain = FaceAligner(size=160, detector=KnownFaces(face)).fit(onset)
    aligned = fit(onset).astype(int)
    inner = slice(25, 135)
    still = np.abs(fit(later).astype(int) - aligned)[inner, inner].mean()
    moved = np.abs(plain(later).astype(int) - aligned)[inner, inner].mean()
    assert still < moved / 4
    # A brow that moves by itself still moves.
    raised = later.copy()
    x, y = np.round(transform_points(cv2.invertAffineTransform(fit.matrix), np.array([[100.0, 50.0]]))[0]).astype(int)
    raised[y - 12 : y + 12, x - 15 : x + 15] = later[y - 10 : y + 14, x - 15 : x + 15]
    brow = np.abs(fit(raised).astype(int) - aligned)[44:56, 92:108].mean()
    assert brow > 4 * still


def test_stabilising_is_off_unless_asked_for() -> None:
    fit = FaceAligner(size=64, detector=KnownFaces(face_at(similarity(1, 0, 50, 50)))).fit(textured())
    assert fit.reference is None
    with pytest.raises(ValueError, match="stabilise=True"):
        fit.motion(np.zeros((64, 64, 3), np.uint8))


# --- the detector's file -------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"yunet\.onnx is no file"):
        FaceDetector(tmp_path / "yunet.onnx")
    monkeypatch.setenv(face_detector.DETECTOR_VARIABLE, str(tmp_path / "other.onnx"))
    with pytest.raises(FileNotFoundError, match=r"other\.onnx, which HSTA_FACE_DETECTOR names, is no file"):
        FaceDetector()


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid", b"\0" * 64])
def test_a_file_that_is_no_onnx_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"yunet\.onnx is no YuNet model.*face_detection_yunet_2023mar\.onnx"):
        FaceDetector(path)


def test_without_a_connection_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(face_detector.DETECTOR_VARIABLE, raising=False)
    asked = []

    def out_of_reach(repository: str, name: str, revision: str) -> str:
        asked.append((repository, name, revision))
        raise face_detector.LocalEntryNotFoundError("offline")

    monkeypatch.setattr(face_detector, "hf_hub_download", out_of_reach)
    with pytest.raises(FileNotFoundError, match=r"could not be reached.*hf download.*--face-detector PATH"):
        detector_weights()
    assert asked == [("opencv/face_detection_yunet", "face_detection_yunet_2023mar.onnx", asked[0][2])]
    assert len(asked[0][2]) == 40  # a commit, and no branch that moves


# --- the detector itself, on real and rendered faces ---------------------------------------------------------------


@pytest.fixture(scope="module")
def aligner(shared_dir: Path) -> FaceAligner:
    path = shared_dir / "models" / "yunet_n_640_640.onnx"
    if not path.is_file():
        pytest.skip(f"needs the face detector {path.name} among the reference data")
    return FaceAligner(path)


@pytest.fixture(scope="module")
def talking(shared_dir: Path) -> np.ndarray:
    """The first frame of the video of one face, (360, 640, 3) RGB."""
    ok, frame = cv2.VideoCapture(str(shared_dir / "media" / "single_face.mp4")).read()
    assert ok
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def test_a_real_face_is_found_and_put_upright(aligner: FaceAligner, talking: np.ndarray) -> None:
    fit = aligner.fit(talking)
    right, left, nose, mouth, _ = fit.landmarks
    assert fit.num_faces == 1 and fit.face.score > 0.9
    assert right[0] < nose[0] < left[0] and right[1] < nose[1] < mouth[1]
    assert np.abs(fit.landmarks - (TEMPLATE * 224 - 0.5))[:2].max() < 3
    assert np.array_equal(aligner.fit(talking).matrix, fit.matrix)


@pytest.mark.parametrize("how", ["larger", "small", "grey", "turned", "tight"])
def test_the_same_face_in_other_frames_gives_the_same_crop(
    aligner: FaceAligner, talking: np.ndarray, how: str
) -> None:
    fit = aligner.fit(talking)
    if how == "larger":
        frame, there = cv2.resize(talking, (1600, 900), interpolation=cv2.INTER_CUBIC), similarity(2.5, 0, 0.75, 0.75)
    elif how == "small":
        frame, there = cv2.resize(talking, (192, 108), interpolation=cv2.INTER_AREA), similarity(0.3, 0, -0.35, -0.35)
    elif how == "grey":
        frame, there = cv2.cvtColor(talking, cv2.COLOR_RGB2GRAY), similarity(1, 0, 0, 0)
    elif how == "turned":
        there = similarity(1.0, 12, 60, -30)
        frame = cv2.warpAffine(talking, there, (640, 400), flags=cv2.INTER_CUBIC)
    else:
        x, y, width, height = (round(value) for value in fit.face.box)
        frame, there = talking[y : y + height, x : x + width], similarity(1, 0, -x, -y)
    other = aligner.fit(frame)
    # Where the eyes of the first frame's crop come to lie in that of the other.
    onward = compose(compose(other.matrix, there), cv2.invertAffineTransform(fit.matrix))
    eyes = (TEMPLATE * 224 - 0.5)[:2]
    # Nothing around the face is something else to the detector.
    bound = (0.06 if how == "tight" else 0.03) * (eyes[1, 0] - eyes[0, 0])
    assert np.linalg.norm(transform_points(onward, eyes) - eyes, axis=1).max() < bound


def test_two_faces_are_both_found(aligner: FaceAligner, talking: np.ndarray) -> None:
    small = cv2.resize(talking, (320, 180), interpolation=cv2.INTER_AREA)
    frame = np.zeros((360, 960, 3), np.uint8)
    frame[:180, :320], frame[:, 320:] = small, talking
    fit = aligner.fit(frame)
    assert fit.num_faces == 2
    assert fit.face.box[0] > 320  # the larger one


def test_threads_share_an_aligner(aligner: FaceAligner, talking: np.ndarray) -> None:
    frames = [np.roll(talking, shift, axis=1)[: 360 - shift] for shift in range(0, 24, 8)]
    alone = [aligner.fit(frame).matrix for frame in frames]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda frame: aligner.fit(frame).matrix, frames))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_an_aligner_travels_to_other_processes(aligner: FaceAligner, talking: np.ndarray) -> None:
    copy = pickle.loads(pickle.dumps(aligner))
    assert np.array_equal(copy.fit(talking).matrix, aligner.fit(talking).matrix)


def test_a_video_without_faces_has_none(aligner: FaceAligner, shared_dir: Path) -> None:
    path = shared_dir / "media" / "no_face.mp4"
    pictures = [picture for _, picture in VideoFileReader(path.name, str(path)).pictures(0, 1000)]
    assert len(pictures) == 95
    for picture in pictures[::16]:
        with pytest.raises(FaceNotFoundError, match="960x540"):
            aligner.fit(picture)


def test_other_arrays_are_refused(aligner: FaceAligner) -> None:
    with pytest.raises(ValueError, match=r"float32 of shape \(8, 8, 3\)"):
        aligner.fit(np.zeros((8, 8, 3), np.float32))
