"""The sums of a model's files: taken, kept in tags, compared."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from d2n.errors import RegistryError
from d2n.tracking import names, seal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model/data").mkdir(parents=True)
    (tmp_path / "model/MLmodel").write_bytes(b"one")
    (tmp_path / "model/data/model.pt2").write_bytes(b"two")
    return tmp_path / "model"


def test_a_manifest_is_the_sha256_of_every_file(folder: Path) -> None:
    expected = {
        "MLmodel": hashlib.sha256(b"one").hexdigest(),
        "data/model.pt2": hashlib.sha256(b"two").hexdigest(),
    }
    assert seal.manifest(folder) == expected


def test_the_line_that_says_where_a_model_lies_may_move_and_no_other(folder: Path) -> None:
    described = folder / "MLmodel"
    described.write_bytes(b"artifact_path: /one/place\nflavors: {}\n")
    tags = seal.tag_values(seal.manifest(folder))
    described.write_bytes(b"artifact_path: /another\nflavors: {}\n")
    seal.check(folder, tags)
    described.write_bytes(b"artifact_path: /another\nflavors: {python_function: {loader_module: os}}\n")
    with pytest.raises(RegistryError, match="'MLmodel' is not what was registered"):
        seal.check(folder, tags)


def test_long_manifests_go_on_in_numbered_tags() -> None:
    sums = {f"extra_files/{number}.json": f"{number:064x}" for number in range(200)}
    tags = seal.tag_values(sums)
    assert len(tags) > 2
    assert max(map(len, tags.values())) < 5000
    assert seal.sums_of(tags) == sums
    assert seal.sums_of({}) is None


def test_what_was_changed_added_or_lost_is_named(folder: Path) -> None:
    tags = seal.tag_values(seal.manifest(folder))
    seal.check(folder, tags)
    (folder / "data/model.pt2").write_bytes(b"too")
    with pytest.raises(
        RegistryError, match=r"data/model\.pt2.* expected sha256 [0-9a-f]{64}, found sha256 [0-9a-f]{64}"
    ):
        seal.check(folder, tags)
    (folder / "data/model.pt2").write_bytes(b"two")
    (folder / "data/model.pth").write_bytes(b"x")
    with pytest.raises(RegistryError, match=r"model\.pth.* expected no such file"):
        seal.check(folder, tags)
    (folder / "data/model.pth").unlink()
    (folder / "MLmodel").unlink()
    with pytest.raises(RegistryError, match=r"MLmodel.* found no such file"):
        seal.check(folder, tags)


def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (folder / "link.json").symlink_to(tmp_path / "secret")
    with pytest.raises(RegistryError, match="link"):
        seal.manifest(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"MLmodel": 3}', '{"MLmodel": "beef"}', "[" * 100_000])
def test_sums_that_cannot_be_read_are_no_seal(text: str) -> None:
    with pytest.raises(RegistryError, match="holds no sums"):
        seal.sums_of({names.SEAL: text})
