"""Generators in the formats of other tools."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from d2n.config.methods.combogan import ComboGANConfig
from d2n.config.methods.cyclegan import CycleGANConfig
from d2n.errors import D2NError, RegistryError, WeightsError
from d2n.translators import checkpoint
from d2n.translators.from_config import generator_from_config
from d2n.translators.import_weights import import_generator
from d2n.workflows import export, generators


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("generator")
    config = CycleGANConfig(generator_channels=4, generator_blocks=1)
    checkpoint.save_generator(path, generator_from_config(config), config)
    return path


def _export(folder: Path, out: Path, format: str) -> list[str]:  # noqa: A002
    return export.export(str(folder), out, format=format, tracking_uri=None)


def test_torchscript_is_compared_at_twenty_sizes(folder: Path, tmp_path: Path) -> None:
    lines = _export(folder, tmp_path / "g.pt", "torchscript")
    assert "at 20 sizes" in lines[1]
    assert [path.name for path in tmp_path.iterdir()] == ["g.pt"]


def test_safetensors_is_a_folder_that_translate_takes(folder: Path, tmp_path: Path) -> None:
    _export(folder, tmp_path / "weights", "safetensors")
    day = torch.rand(1, 3, 20, 33) * 2 - 1
    expected = generators.load(str(folder), None).translate(day)
    torch.testing.assert_close(generators.load(str(tmp_path / "weights"), None).translate(day), expected)


def test_a_hub_folder_has_weights_config_and_a_card_with_its_licence(folder: Path, tmp_path: Path) -> None:
    _export(folder, tmp_path / "hub", "hub")
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    config = json.loads((tmp_path / "hub/config.json").read_text())
    assert (config["method"], config["stride"]) == ("cyclegan", 4)
    header = (tmp_path / "hub/README.md").read_text().split("---")[1]
    assert "license: other" in header
    assert "pipeline_tag: image-to-image" in header


def test_onnx_runs_at_any_size(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    lines = _export(folder, tmp_path / "g.onnx", "onnx")
    assert "onnxruntime at 20 sizes" in lines[1]


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is not None, reason="the packages are here")
def test_without_its_packages_onnx_says_how_to_get_them(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(D2NError, match=r"pip install 'd2n\[export\]'"):
        _export(folder, tmp_path / "g.onnx", "onnx")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused_first(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="expected one of onnx, torchscript"):
        _export(folder, tmp_path / "x", "keras")
    with pytest.raises(RegistryError, match="is a folder"):
        _export(folder, tmp_path, "torchscript")
    (tmp_path / "mine").write_text("x")
    with pytest.raises(OSError, match="not empty"):
        _export(folder, tmp_path, "hub")


def test_reference_is_the_public_implementations_file(folder: Path, tmp_path: Path) -> None:
    _export(folder, tmp_path / "latest_net_G.pth", "reference")
    weights = torch.load(tmp_path / "latest_net_G.pth", weights_only=True)
    assert {"model.1.weight", "model.10.conv_block.1.weight", "model.18.bias"} <= set(weights)
    network, _ = import_generator(tmp_path / "latest_net_G.pth", CycleGANConfig())
    day = torch.rand(1, 3, 20, 32) * 2 - 1
    assert torch.equal(network(day), generators.load(str(folder), None).module(day))


def test_a_network_that_the_public_implementation_has_not_is_one_line(tmp_path: Path) -> None:
    config = ComboGANConfig(generator="resnet_prelu", generator_channels=4, generator_blocks=1)
    checkpoint.save_generator(tmp_path / "combo", generator_from_config(config), config)
    with pytest.raises(WeightsError, match="has no PReLUGenerator: expected a U-Net, a ResNet or a PatchGAN"):
        _export(tmp_path / "combo", tmp_path / "g.pth", "reference")
    assert not (tmp_path / "g.pth").exists()
