"""Where a JPEG ends: what lies behind the end does not count, what is cut short is no image."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from d2n.datasets.images import check_image
from d2n.datasets.jpeg import end_of_jpeg
from d2n.errors import ImageError

_PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
_VIDEO = b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\xff\xd8\xff\xe1\0\x04" + np.random.default_rng(1).bytes(5000)


def _jpeg(form: str = "JPEG", **how: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_PIXELS).save(buffer, form, **how)
    return buffer.getvalue()


KINDS = {
    "baseline": _jpeg(quality=95),
    "progressive": _jpeg(progressive=True, quality=95),
    "restarts": _jpeg(restart_marker_blocks=2),
    "grey": _jpeg(),
    "end marker within a segment": _jpeg(comment=b"a thumbnail: \xff\xd8 \xff\xd9 and more"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_jpeg_ends_at_its_own_end_marker_whatever_follows(kind: str) -> None:
    whole = KINDS[kind]
    assert end_of_jpeg(whole) == len(whole)
    for tail in (_VIDEO, b"\0" * 7, b"\xff", whole[: len(whole) // 2]):
        assert end_of_jpeg(whole + tail) == len(whole)
        assert check_image(whole + tail, "motion.jpg") == (64, 48)


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_cut_anywhere_is_refused(kind: str) -> None:
    whole = KINDS[kind]
    for cut in [*range(2, 40), *range(40, len(whole) - 1, 97), len(whole) - 2, len(whole) - 1]:
        assert end_of_jpeg(whole[:cut]) is None, cut
        with pytest.raises(ImageError, match=r"^cut\.jpg: "):
            check_image(whole[:cut], "cut.jpg")


def test_two_images_in_one_file_are_whole_where_the_first_is() -> None:
    both = _jpeg("MPO", save_all=True, append_images=[Image.fromarray(_PIXELS[::-1].copy())])
    first = end_of_jpeg(both)
    assert first is not None
    assert first < len(both)
    assert check_image(both + _VIDEO, "a.jpg") == check_image(both, "a.jpg") == (64, 48)
    with pytest.raises(ImageError, match="no end marker"):
        check_image(both[: first - 2], "a.jpg")


def test_other_bytes_are_no_jpeg() -> None:
    assert end_of_jpeg(b"") is None
    assert end_of_jpeg(b"\x89PNG" + b"\xff\xd8\xff\xd9") is None
    assert end_of_jpeg(b"\xff\xd8\xff\xe0\x00\x01\xff\xd9") is None  # a segment shorter than its own length
