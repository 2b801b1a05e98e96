"""Decoding, orientation, and what is refused."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2n.datasets.images import check_image, image_size, load_rgb, save_rgb
from d2n.errors import ImageError
from tests.datasets.miniatures import photo


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_rgb_bytes_are_those_of_the_file(tmp_path: Path) -> None:
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    save_rgb(pixels, tmp_path / "a.png")
    assert np.array_equal(load_rgb(tmp_path / "a.png"), pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]  # no temporary file stays


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o002])
def test_an_image_has_the_mode_of_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        save_rgb(np.zeros((5, 7, 3), np.uint8), tmp_path / "a.jpg")
    finally:
        os.umask(before)
    assert (tmp_path / "a.jpg").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 90, (90, 90, 90)),
        ("1", 1, (255, 255, 255)),
        ("LA", (90, 10), (90, 90, 90)),
        ("RGBA", (1, 2, 3, 0), (1, 2, 3)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 40, (40, 40, 40)),
        ("I", 257 * 40, (40, 40, 40)),
        ("F", 0.2, (51, 51, 51)),
    ],
)
def test_any_mode_becomes_rgb(
    tmp_path: Path, mode: str, value: int | tuple[int, ...], expected: tuple[int, ...]
) -> None:
    path = tmp_path / "a.tif"
    Image.new(mode, (12, 9), value).save(path)
    assert load_rgb(path).shape == (9, 12, 3)
    assert tuple(load_rgb(path)[4, 5]) == expected


def test_palette_with_transparency_in_bytes(tmp_path: Path) -> None:
    image = Image.new("P", (9, 9), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    image.save(tmp_path / "p.png", transparency=bytes([0, 128]))
    assert tuple(load_rgb(tmp_path / "p.png")[0, 0]) == (200, 100, 50)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255  # the upper left quarter is white
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, 3),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(turned)).save(path, exif=exif)
    assert np.array_equal(load_rgb(path), upright)
    assert check_image(path.read_bytes(), str(path)) == (32, 16)


def test_large_jpeg_is_decoded_smaller_but_not_under_twice_the_wish(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", size=(1600, 1200))
    assert load_rgb(path, shrink_to_px=256).shape == (600, 800, 3)
    assert load_rgb(path, shrink_to_px=601).shape == (1200, 1600, 3)
    assert load_rgb(path).shape == (1200, 1600, 3)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("<html>404</html>")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _end_marker_gone(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def _bomb(path: Path) -> None:
    path.write_bytes(_png_header(20_000, 20_000))


def _between_warning_and_error(path: Path) -> None:
    path.write_bytes(_png_header(10_000, 10_000))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_empty, "0 bytes"),
        (_text, "not an image"),
        (_cut, "truncated"),
        (_end_marker_gone, "truncated"),
        (_bomb, "pixels"),
        (_between_warning_and_error, "pixels"),
        (Path.unlink, "no such file"),
    ],
)
def test_what_is_no_whole_image_is_refused_in_one_line_with_its_path(
    tmp_path: Path, damage, says: str
) -> None:  # type: ignore[no-untyped-def]  # functions of a path
    path = photo(tmp_path / "a b'ü.jpg")
    damage(path)
    with pytest.raises(ImageError, match=says) as caught:
        check_image(path.read_bytes(), str(path)) if path.exists() else load_rgb(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [_empty, _text, _cut, _bomb])
def test_loading_refuses_too(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]  # functions of a path
    path = photo(tmp_path / "a.jpg")
    damage(path)
    with pytest.raises(ImageError, match=r"a\.jpg: "):
        load_rgb(path)


def test_a_name_of_another_format_is_refused_when_checked(tmp_path: Path) -> None:
    path = photo(tmp_path / "a.jpg", form="PNG")
    with pytest.raises(ImageError, match="holds PNG, its name says JPEG"):
        check_image(path.read_bytes(), str(path))
    assert check_image(path.read_bytes(), str(path), check_suffix=False) == (48, 40)
    assert load_rgb(path).shape == (40, 48, 3)


def test_eps_would_start_another_program_and_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "EPS")
    with pytest.raises(ImageError, match="not an image"):
        check_image(buffer.getvalue(), "a.eps")


@pytest.mark.parametrize(
    ("array", "name", "says"),
    [
        (np.zeros((4, 4, 3), np.uint8), "a.xyz", "suffix"),
        (np.zeros((4, 4), np.uint8), "a.png", r"\(4, 4\)"),
        (np.zeros((4, 4, 3), np.float32), "a.png", "float32"),
    ],
)
def test_writing_refuses_what_it_cannot_write(
    tmp_path: Path, array: np.ndarray, name: str, says: str
) -> None:
    with pytest.raises(ImageError, match=says):
        save_rgb(array, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def _exif(kind: int, count: int, value: bytes, tag: int = 0x0112) -> bytes:
    """An EXIF block of one entry, whose value may be of any type."""
    far = len(value) > 4
    entry = struct.pack("<HHI", tag, kind, count) + (struct.pack("<I", 26) if far else value.ljust(4, b"\0"))
    return (
        b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 0) + (value if far else b"")
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own, of metadata that it finds odd
@pytest.mark.parametrize(
    ("exif", "size"),
    [
        (_exif(3, 1, struct.pack("<H", 6)), (20, 30)),
        (_exif(3, 1, struct.pack("<H", 0)), (30, 20)),
        (_exif(3, 1, struct.pack("<H", 9)), (30, 20)),
        (_exif(4, 1, struct.pack("<I", 2**31)), (30, 20)),
        (_exif(5, 1, struct.pack("<II", 6, 0)), (30, 20)),
        (_exif(10, 1, struct.pack("<ii", -1, 0)), (30, 20)),
        (_exif(12, 1, struct.pack("<d", float("inf"))), (30, 20)),
        (_exif(2, 11, b"Horizontal\0"), (30, 20)),
        (_exif(7, 4, b"\6\0\0\0"), (30, 20)),
        (_exif(99, 1, b"\6"), (30, 20)),
        (_exif(3, 0xFFFFFFF0, b"\6"), (30, 20)),
        (_exif(5, 1, struct.pack("<II", 72, 0), tag=0x011A), (30, 20)),  # a resolution by zero
        (_exif(3, 1, struct.pack("<H", 6))[:20], (30, 20)),
        (b"Exif\0\0" + b"\xff" * 40, (30, 20)),
    ],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_an_odd_orientation_is_upright_for_the_index_and_for_the_pixels(
    tmp_path: Path, form: str, exif: bytes, size: tuple[int, int]
) -> None:
    path = tmp_path / "a"
    Image.new("RGB", (30, 20), (9, 9, 9)).save(path, form, exif=exif)
    assert check_image(path.read_bytes(), "a") == image_size(path) == size
    assert load_rgb(path).shape == (size[1], size[0], 3)
