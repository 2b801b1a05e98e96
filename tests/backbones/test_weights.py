"""Weights files: read within the size of the file, or refused in one line."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from d2n.backbones.weights import read_weights_file, state_dict
from d2n.config import translator_config
from d2n.errors import WeightsError
from d2n.translators.import_weights import import_generator


@pytest.mark.parametrize("zipped", [True, False])
def test_both_of_torchs_formats_are_read(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a": torch.arange(6.0).view(2, 3)}, path, _use_new_zipfile_serialization=zipped)
    assert torch.equal(state_dict(read_weights_file(path), "w")["a"], torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"a": torch.zeros(1).expand(20000, 3, 7, 7)}, "of which 4 bytes are stored"),
        ({"a": torch.zeros(2, device="meta")}, "on meta"),
        ({"a": torch.zeros(2).to_sparse()}, "sparse"),
    ],
)
def test_a_tensor_larger_than_what_is_stored_is_refused(tmp_path: Path, value: Any, says: str) -> None:
    torch.save(value, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=says):
        read_weights_file(tmp_path / "w.pth")


def test_a_packed_archive_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2**16)}, tmp_path / "w.pth")
    with (
        zipfile.ZipFile(tmp_path / "w.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(WeightsError, match="compressed"):
        read_weights_file(tmp_path / "packed.pth")


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ({1: torch.zeros(2)}, "tensors by name"),
        ({"model.1.weight": torch.tensor(1.0)}, r"shape \(\), expected a convolution"),
        (
            {"model.1.weight": torch.zeros(20000, 1, 1, 1)},
            "generator_channels is 20000, expected at most 512",
        ),
        (
            {"model.1.weight": torch.zeros(64, 3, 7, 7)}
            | {f"model.{i}.conv_block.1.weight": torch.zeros(1) for i in range(10, 100)},
            "generator_blocks is 90, expected at most 32",
        ),
        (
            {"model.1.weight": torch.zeros(512, 3, 7, 7)}
            | {f"model.{i}.conv_block.1.weight": torch.zeros(1) for i in range(10, 42)},
            "weights of another architecture",  # told by the shapes, before ten GB are made
        ),
    ],
)
def test_a_generator_keeps_the_knobs_bounds(tmp_path: Path, weights: Any, says: str) -> None:
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=says):
        import_generator(tmp_path / "w.pth", translator_config("cyclegan"))


@pytest.mark.parametrize("content", [b"\0" * 1000, b"image,day\n", "utf".encode("utf-16")])
def test_torchs_advice_to_read_unsafely_is_not_passed_on(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"no file that torch\.save wrote") as caught:
        read_weights_file(path)
    assert "weights_only" not in str(caught.value)


def test_what_a_weights_file_may_not_hold_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"path": Path("x")}, path)
    with pytest.raises(WeightsError, match=r"it holds pathlib[\w.]*, and tensors and plain values alone"):
        read_weights_file(path)
