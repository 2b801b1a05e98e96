"""What is opened, and how large it may declare itself, before anything is decoded; tensors and back."""

from __future__ import annotations

import io
import os
import socket
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d2n import pixels
from d2n.errors import ImageError
from d2n.pixels import decode_rgb, load_rgb, signed_tensor, to_uint8, unit_tensor


def _small(form: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), (90, 80, 70)).save(out, form, **options)
    return out.getvalue()


def _jpeg(width: int, height: int) -> bytes:
    """A small JPEG whose frame header declares another size; its end marker is there, so that it decodes."""
    content = bytearray(_small("JPEG"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def _png(width: int, height: int) -> bytes:
    import zlib

    content = bytearray(_small("PNG"))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def _webp(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (9, 9, 9)).save(out, "WEBP", lossless=True, method=0)
    return out.getvalue()


def _tiff(width: int, height: int) -> bytes:
    """Width and height are the entries 256 and 257 of the directory."""
    content = bytearray(_small("TIFF"))
    start = struct.unpack("<I", content[4:8])[0]
    for number in range(struct.unpack("<H", content[start : start + 2])[0]):
        place = start + 2 + 12 * number
        tag = struct.unpack("<H", content[place : place + 2])[0]
        if tag in (256, 257):
            content[place + 2 : place + 12] = struct.pack("<HII", 4, 1, width if tag == 256 else height)
    return bytes(content)


@pytest.mark.parametrize("make", [_jpeg, _png, _webp, _tiff])
def test_a_small_file_that_declares_a_large_image_is_not_decoded(make: Callable[[int, int], bytes]) -> None:
    content = make(6500, 6000)
    tracemalloc.start()
    with pytest.raises(
        ImageError, match=r"^x\.jpg: declares 6500 x 6000 pixels in [\d,]+ bytes, at most 2,000"
    ):
        decode_rgb(content, "x.jpg")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


def test_the_callers_own_limit_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (400, 300)).save(tmp_path / "a.png")
    assert load_rgb(tmp_path / "a.png", max_pixels=120_000).shape == (300, 400, 3)
    with pytest.raises(ImageError, match="declares 400 x 300, at most 100,000 pixels"):
        load_rgb(tmp_path / "a.png", max_pixels=100_000)


def test_an_even_photograph_of_a_large_camera_is_read(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png"):
        Image.new("RGB", (5200, 3900), (3, 3, 5)).save(tmp_path / name)
        assert load_rgb(tmp_path / name).shape == (3900, 5200, 3)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _folder(path: Path) -> None:
    path.mkdir()


def _dangling(path: Path) -> None:
    path.symlink_to("nothing")


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(pixels.MAX_BYTES + 1)  # a hole: takes no space


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_pipe, "is a named pipe"),
        (_socket, "is a socket"),
        (_device, "is a device"),
        (_folder, "is a folder"),
        (_dangling, "a link that leads to no file"),
        (_circle, "cannot be read"),
        (_huge, "at most 1,073,741,824 are read"),
    ],
)
def test_only_regular_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], says: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    make(Path("x.jpg"))
    with pytest.raises(ImageError, match=says) as caught:
        load_rgb("x.jpg")
    assert str(caught.value).startswith("x.jpg: ")


def test_sixteen_bits_become_eight_strip_by_strip() -> None:
    grey = (np.arange(700 * 40).reshape(700, 40) * 2).astype(np.uint16)
    expected = np.clip(np.rint(grey / 257), 0, 255).astype(np.uint8)
    found = np.asarray(decode_rgb(_png16(grey), "x.png"))
    assert np.array_equal(found[..., 0], expected)


def test_every_level_survives_the_way_to_uint8_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(to_uint8(signed_tensor(levels)), levels)


def test_levels_are_rounded_not_truncated() -> None:
    image = torch.full((3, 1, 1), 2 * 100.6 / 255 - 1)
    assert to_uint8(image).tolist() == [[[101, 101, 101]]]
    assert to_uint8(torch.full((3, 1, 1), 1.5)).max() == 255


def test_batches_and_single_images_become_the_same_tensors() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    images.setflags(write=False)  # as Pillow gives them
    batch = signed_tensor(images)
    assert batch.shape == (2, 3, 5, 7)
    assert torch.equal(batch[1], signed_tensor(images[1]))
    assert np.array_equal(to_uint8(batch), images)
    assert torch.allclose(unit_tensor(images.copy()), (batch + 1) / 2, atol=1e-6)


def _png16(grey: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG")
    return out.getvalue()
