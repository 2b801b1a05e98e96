"""Date, camera, place, colours and resolution go over to a picture made from a photograph; odd values end nothing."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from d2n.datasets.images import decode_rgb
from d2n.datasets.metadata import Metadata, encode_rgb, read_metadata
from d2n.errors import ImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NOTE = bytes(range(256)) * 3


def exif(orientation: object = 6) -> Image.Exif:
    found = Image.Exif()
    found[0x010F], found[0x0110], found[0x0132] = "Maker", "Model 1", "2020:05:01 12:34:56"
    if orientation is not None:
        found[0x0112] = orientation
    found[0x8769] = {0x9003: "2020:05:01 12:34:56", 0x920A: 4.25, 0xA002: 30, 0xA003: 20, 0x927C: NOTE}
    found[0x8825] = {1: "N", 2: (50.0, 5.0, 1.5), 3: "E", 4: (14.0, 25.0, 0.0)}
    return found


def encoded(form: str, **save: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, form, **save)
    return buffer.getvalue()


def carried(content: bytes, suffix: str) -> Image.Image:
    """What a picture of the same pixels says of itself, made from such a photograph."""
    upright = np.asarray(decode_rgb(content, "photograph"))
    metadata = read_metadata(content, upright.shape[1], upright.shape[0])
    out = encode_rgb(upright, Path(f"night{suffix}"), metadata)
    assert np.asarray(decode_rgb(out, "night")).shape == upright.shape  # turned once, not twice
    return Image.open(io.BytesIO(out))


@pytest.mark.parametrize("out", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_date_camera_focal_length_and_place(form: str, out: str) -> None:
    night = carried(encoded(form, exif=exif().tobytes(), icc_profile=SRGB, dpi=(300, 150)), out)
    assert night.size == (20, 30)
    found = night.getexif()
    assert (found[0x010F], found[0x0110], found[0x0132]) == ("Maker", "Model 1", "2020:05:01 12:34:56")
    assert found.get(0x0112, 1) == 1
    inner = found.get_ifd(0x8769)
    assert (inner[0x9003], float(inner[0x920A]), inner[0x927C]) == ("2020:05:01 12:34:56", 4.25, NOTE)
    assert (inner[0xA002], inner[0xA003]) == (20, 30)
    place = found.get_ifd(0x8825)
    assert (place[1], tuple(map(float, place[2])), place[3]) == ("N", (50, 5, 1.5), "E")
    assert night.info["icc_profile"] == SRGB
    if form != "WEBP" and out != ".webp":  # which has no resolution of its own
        assert tuple(map(round, night.info["dpi"])) == (150, 300)


def test_the_small_picture_inside_is_not_carried_over() -> None:
    """It shows the day: the pointer to its directory is cleared."""
    tiff, start = bytearray(exif().tobytes()), len(b"Exif\0\0")
    order = ">" if tiff[start : start + 2] == b"MM" else "<"
    count = struct.unpack_from(order + "H", tiff, start + 8)[0]
    pointer = start + 8 + 2 + 12 * count
    struct.pack_into(order + "I", tiff, pointer, len(tiff) - start)
    small = struct.pack(order + "HHHIII", 1, 0x0201, 4, 1, 0, 0)
    night = carried(encoded("JPEG", exif=bytes(tiff) + small), ".jpg")
    assert struct.unpack_from(order + "I", night.info["exif"], pointer)[0] == 0
    assert night.getexif()[0x0110] == "Model 1"


@pytest.mark.parametrize("orientation", [0, 1, 9, 65535, None])
def test_orientations_that_turn_nothing(orientation: int | None) -> None:
    night = carried(encoded("JPEG", exif=exif(orientation)), ".jpg")
    assert night.size == (30, 20)
    assert night.getexif()[0x0110] == "Model 1"
    assert night.getexif().get(0x0112, 1) == 1


def test_broken_exif_ends_nothing_and_is_counted() -> None:
    whole = exif(orientation=None).tobytes()
    rng = np.random.default_rng(0)
    odd = 0
    for trial in range(60):
        damaged = bytearray(whole[: rng.integers(7, len(whole))] if trial % 2 else whole)
        for _ in range(3):
            damaged[rng.integers(6, len(damaged))] = rng.integers(256)
        content = encoded("JPEG", exif=bytes(damaged))
        metadata = read_metadata(content, 30, 20)
        odd += metadata.is_odd
        for suffix in (".jpg", ".png", ".tif", ".gif", ".ppm"):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert encode_rgb(PIXELS, Path(f"night{suffix}"), metadata)
    assert 0 < odd < 60


@pytest.mark.parametrize(
    "dpi", [(0, 0), (float("inf"), 72), (float("nan"), 1), (-3, 4), ("a", "b"), (1e9, 1e9), 72]
)
def test_impossible_resolutions_are_left_out(dpi: object) -> None:
    content = encoded("PNG")
    image = Image.open(io.BytesIO(content))
    image.info["dpi"] = dpi
    from d2n.datasets import metadata

    assert metadata._dpi_of(image) is None
    assert encode_rgb(PIXELS, Path("a.jpg"), Metadata(dpi=(1e300, 1e300)))  # nor do they end what is written


def test_a_profile_of_other_colours_is_left_out() -> None:
    grey = bytearray(SRGB)
    grey[16:20] = b"GRAY"
    assert read_metadata(encoded("JPEG", icc_profile=bytes(grey)), 30, 20).icc == b""
    assert read_metadata(encoded("JPEG", icc_profile=b"nonsense"), 30, 20).icc == b""


def test_exif_too_long_for_a_jpeg_is_left_out_alone() -> None:
    metadata = Metadata(b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + bytes(70_000), SRGB)
    night = Image.open(io.BytesIO(encode_rgb(PIXELS, Path("a.jpg"), metadata)))
    assert night.info["icc_profile"] == SRGB
    assert "exif" not in night.info


def test_an_unknown_suffix_is_told() -> None:
    with pytest.raises(ImageError, match=r"cannot write suffix '.xyz'"):
        encode_rgb(PIXELS, Path("a.xyz"), Metadata())
