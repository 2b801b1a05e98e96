"""The cache of decoded images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from d2n.datasets.cache import DecodedCache, default_cache_dir, size_bytes

IMAGE = np.arange(10 * 12 * 3, dtype=np.uint8).reshape(10, 12, 3)


def _never() -> np.ndarray:
    raise AssertionError("decoded though it was kept")


def test_what_was_kept_is_read_back(tmp_path: Path) -> None:
    cache = DecodedCache(tmp_path, 1)
    assert cache.get("abc", lambda: IMAGE) is IMAGE
    assert np.array_equal(DecodedCache(tmp_path, 1).get("abc", _never), IMAGE)


def test_without_room_nothing_is_kept(tmp_path: Path) -> None:
    DecodedCache(tmp_path, 0).get("abc", lambda: IMAGE)
    assert not list(tmp_path.iterdir())


def test_the_bound_counts_what_lies_there_already(tmp_path: Path) -> None:
    room_for_two = 2.5 * (IMAGE.nbytes + 16) / 2**20
    for name in ("a1", "b2", "c3", "d4"):
        DecodedCache(tmp_path, room_for_two).get(name, lambda: IMAGE)
    assert size_bytes(tmp_path) == 2 * (IMAGE.nbytes + 16)


@pytest.mark.parametrize("damage", [b"", b"short", b"d2n-rgb1" + bytes(200)])
def test_a_damaged_entry_is_made_again(
    tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    DecodedCache(tmp_path, 1).get("abc", lambda: IMAGE)
    next(tmp_path.glob("*/*")).write_bytes(damage)
    assert np.array_equal(DecodedCache(tmp_path, 1).get("abc", lambda: IMAGE), IMAGE)
    assert "damaged entry" in caplog.text
    assert np.array_equal(DecodedCache(tmp_path, 1).get("abc", _never), IMAGE)


def test_the_default_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir() == tmp_path / "d2n" / "images"
