"""Reading clips: what is no clip, or would be read wrongly without a word, is refused by name."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from hsta_hf.video_processing_hsta import HSTAVideoProcessor
from hsta_hf.video_reading_hsta import VideoReadError, open_clip


def grey_clip(num_frames: int = 8, height: int = 20, width: int = 24) -> np.ndarray:
    """(T, H, W) uint8, every grey level in it."""
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width)).astype(np.uint8)


def all_frames(source: object) -> np.ndarray:
    reader = open_clip(source, "the video")
    frames = reader.read(range(8))
    return np.stack([frames[index] for index in range(8)])


def test_pictures_of_more_than_8_bits_keep_their_grey_levels(tmp_path: Path) -> None:
    grey = grey_clip()
    expected = np.repeat(grey[..., None], 3, axis=-1)
    deep = grey.astype(np.uint16) * 257
    for t, frame in enumerate(deep):
        Image.fromarray(frame).save(tmp_path / f"{t}.png")
    assert Image.open(tmp_path / "0.png").mode.startswith("I")
    kinds = {
        "arrays": deep,
        "big-endian arrays": deep.astype(">u2"),
        "pictures": [Image.fromarray(frame) for frame in deep],
        "32-bit pictures": [Image.fromarray(frame.astype(np.int32)) for frame in deep],
        "float pictures": [Image.fromarray((frame / 255).astype(np.float32)) for frame in grey],
        "files": tmp_path,
        "8-bit numbers in 16 bits": grey.astype(np.uint16),
        "8-bit pictures": [Image.fromarray(frame) for frame in grey],
        "pictures with alpha": [Image.fromarray(frame).convert("LA") for frame in grey],
    }
    for name, kind in kinds.items():
        assert np.array_equal(all_frames(kind), expected), name


def test_floats_a_rounding_error_beyond_1_are_still_0_to_1() -> None:
    grey = grey_clip()
    expected = np.repeat(grey[..., None], 3, axis=-1)
    floats = grey / 255.0
    assert np.array_equal(all_frames(floats * (1 + 1e-6)), expected)
    assert np.array_equal(all_frames(floats - 1e-7), expected)
    with pytest.raises(VideoReadError, match=r"up to 1\.1.*clip"):
        open_clip(floats * 1.1, "the video")


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (24, 20)),
        np.zeros((20, 24, 3), np.uint8),
        torch.zeros(20, 24, 4),
        np.zeros((20, 24, 1), np.uint8),
    ],
    ids=["picture", "array", "tensor with alpha", "greyscale"],
)
def test_one_picture_is_no_clip(picture: object) -> None:
    with pytest.raises(VideoReadError, match="the video is one picture"):
        HSTAVideoProcessor(size=32)(picture)
    assert HSTAVideoProcessor(size=32)([picture])["pixel_values"].shape == (1, 6, 3, 32, 32)


@pytest.mark.parametrize("given", [{}, {"apex": 3, "offset": 7}])
def test_frames_of_different_sizes_are_named(given: dict[str, int], tmp_path: Path) -> None:
    for t in range(8):
        Image.new("RGB", (24 + 2 * (t == 7), 20)).save(tmp_path / f"{t}.png")
    with pytest.raises(VideoReadError, match=r"24x20, 26x20") as caught:
        HSTAVideoProcessor(size=32)(tmp_path, **given)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("given", [{}, {"apex": 3, "offset": 11}])
def test_a_video_that_changes_its_size_is_named(given: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "changes.mjpeg"
    for width in (48, 64):  # raw motion JPEG is pictures one after the other
        with av.open(str(tmp_path / f"{width}.mjpeg"), "w", format="mjpeg") as container:
            stream = container.add_stream("mjpeg", rate=30)
            stream.height, stream.width, stream.pix_fmt = 32, width, "yuvj420p"
            for t in range(6):
                picture = np.full((32, width, 3), 20 * t, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        with path.open("ab") as joined:
            joined.write((tmp_path / f"{width}.mjpeg").read_bytes())
    with pytest.raises(VideoReadError, match=r"changes\.mjpeg.*48x32, 64x32"):
        HSTAVideoProcessor(size=32)(path, **given)


@pytest.mark.parametrize(
    "url", ["http://exa mple.org/a.mp4", "http://[bad/a.mp4", "HTTP://127.0.0.1:1/a.mp4", "http://"]
)
def test_impossible_urls_are_named(url: str) -> None:
    with pytest.raises(VideoReadError, match="cannot be downloaded") as caught:
        open_clip(url, "the video")
    assert url in str(caught.value)


def test_a_download_that_breaks_off_is_named() -> None:
    class Short(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 600)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Short)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(VideoReadError, match=r"clip\.mp4 cannot be downloaded: .*600 of 1000 bytes"):
            open_clip(f"http://127.0.0.1:{server.server_port}/clip.mp4", "the video")
    finally:
        server.shutdown()
        server.server_close()
