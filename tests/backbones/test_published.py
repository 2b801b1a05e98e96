"""Published weights: fetched whole, with the hash of their name, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from d2n.backbones import BACKBONES, classifiers, published
from d2n.errors import WeightsError


def test_a_download_is_whole_or_absent(tmp_path: Path) -> None:
    source = tmp_path / "served" / "net-00000000.pth"
    source.parent.mkdir()
    source.write_bytes(b"weights")
    with pytest.raises(OSError, match="expected 00000000"):
        published.fetch(source.as_uri(), tmp_path / "cache" / source.name)
    assert list((tmp_path / "cache").iterdir()) == []
    named = source.rename(source.with_name("net.pth"))
    published.fetch(named.as_uri(), tmp_path / "cache" / "net.pth")
    assert (tmp_path / "cache" / "net.pth").read_bytes() == b"weights"
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_backbone_without_published_weights_says_so() -> None:
    assert not published.is_published(BACKBONES["toy"], "0" * 64)
    with pytest.raises(WeightsError, match="no weights of toy are published: train it"):
        published.cached_file(BACKBONES["toy"], otherwise="train it")


def test_the_best_weights_come_first() -> None:
    urls = classifiers.classifier("resnet50").urls
    assert len(urls) == len(set(urls)) == 2
    assert published.is_published(classifiers.row("resnet50"), urls[1].rpartition("-")[2][:8] + "0" * 56)
