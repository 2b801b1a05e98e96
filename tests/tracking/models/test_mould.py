"""A second network of a structure is stored as an export would store it, and is not exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn

from d2n.config import METHODS, translator_config
from d2n.tracking import models
from d2n.tracking.models import archive, mould, writing
from d2n.translators import export
from d2n.translators.from_config import generator_from_config

EXAMPLE = np.zeros((2, 3, 16, 16), np.float32)
ANY = (-1, 3, -1, -1)
OWN = {"model_uuid", "utc_time_created"}  # of each model


class Net(nn.Module):
    """Any size in, the same size out; counts how often it was traced or run."""

    calls = 0

    def __init__(self, seed: int = 0, channels: int = 4) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm = nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.last = nn.Conv2d(channels, 3, 3, padding=1)
        self.register_buffer("scale", torch.ones(1), persistent=False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        Net.calls += 1
        return torch.tanh(self.last(torch.relu(self.norm(self.first(x)))) * self.scale)


def saved(module: nn.Module, folder: Path, text: str = "{}", step: int = 0) -> Path:
    extra = folder.with_suffix(".extra") / "generator.json"
    extra.parent.mkdir(parents=True)
    extra.write_text(text)
    writing._save(module, folder, EXAMPLE, ANY, [extra], {"best_step": step}, ["torch", "mlflow"])
    return folder


def contents(folder: Path) -> dict[str, object]:
    """All that a folder holds, but for what each model has for itself."""
    found: dict[str, object] = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    found["MLmodel"] = {
        key: value
        for key, value in yaml.safe_load((folder / "MLmodel").read_text()).items()
        if key not in OWN
    }
    members = archive.bare_members(folder / models.EXPORTED)
    assert members.pop(archive.IDENTITY).isdigit()
    found[models.EXPORTED] = members
    return found


def exported(module: nn.Module, folder: Path, text: str, step: int) -> Path:
    """As saved, with nothing kept from before."""
    writing._MOULDS._kept.clear()
    return saved(module, folder, text, step)


def key(module: nn.Module) -> object:
    return mould.key_of(module, EXAMPLE, ANY, [Path("generator.json")], ["torch"])


def test_what_is_poured_is_what_an_export_makes(tmp_path: Path) -> None:
    first = exported(Net(0), tmp_path / "a", "{}", 1)
    calls = Net.calls
    poured = saved(Net(1), tmp_path / "b", '{"longer": 1}', 2)
    assert Net.calls == calls  # neither traced nor run
    expected = exported(Net(1), tmp_path / "c", '{"longer": 1}', 2)
    assert Net.calls > calls
    assert contents(poured) == contents(expected)
    assert contents(first) != contents(poured)
    identities = {archive.bare_members(one / models.EXPORTED)[archive.IDENTITY] for one in (first, poured)}
    assert len(identities) == 2
    models.require_safe(poured)
    images = np.random.default_rng(0).uniform(-1, 1, (3, 3, 20, 33)).astype(np.float32)
    with torch.no_grad():
        eager = Net(1)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(models.load_folder(poured)(images), eager, atol=1e-6)


def changed(how: str) -> nn.Module:
    """The network, and something of it that an export would see."""
    net = Net()
    if how == "channels":
        return Net(channels=5)
    if how == "an attribute":
        net.norm.eps = 0.1
    elif how == "a mode":
        net.norm.train()
    elif how == "a class":
        net.last.__class__ = type("Other", (nn.Conv2d,), {})
    elif how == "a constant":
        net.scale.fill_(2.0)
    elif how == "a tie":
        net.norm.bias = net.norm.weight
    elif how == "a layer":
        net.first = nn.Sequential(net.first)  # type: ignore[assignment]
    elif how == "a type":
        net.last.weight.data = net.last.weight.data.double()
    return net


@pytest.mark.parametrize(
    "how", ["channels", "an attribute", "a mode", "a class", "a constant", "a tie", "a layer", "a type"]
)
def test_another_structure_is_another_mould(how: str) -> None:
    assert key(Net(1)) == key(Net(2)) is not None
    assert key(changed(how)) not in (None, key(Net()))


def test_the_example_the_shape_and_the_files_are_part_of_it() -> None:
    net = Net()
    wide = np.zeros((2, 3, 16, 18), np.float32)
    others = [
        mould.key_of(net, wide, ANY, [Path("generator.json")], ["torch"]),
        mould.key_of(net, EXAMPLE, (-1, 4), [Path("generator.json")], ["torch"]),
        mould.key_of(net, EXAMPLE, ANY, [Path("other.json")], ["torch"]),
        mould.key_of(net, EXAMPLE, ANY, [Path("generator.json")], ["torch==1"]),
    ]
    assert len({key(net), *others}) == 5
    assert None not in others


@pytest.mark.parametrize("how", ["a hook", "a closure", "a tensor", "a view", "a strange name"])
def test_what_cannot_be_told_is_exported_each_time(how: str) -> None:
    net = Net()
    if how == "a hook":
        net.first.register_forward_hook(lambda module, given, made: made)
    elif how == "a closure":
        net.forward = lambda x: x  # type: ignore[method-assign]
    elif how == "a tensor":
        net.plain = torch.ones(3)  # type: ignore[assignment]
    elif how == "a view":
        net.last.bias.data = torch.zeros(6)[3:]
    else:
        assert mould.key_of(net, EXAMPLE, ANY, [Path("what?.json")], []) is None
        return
    assert key(net) is None


def test_the_latest_few_are_kept(tmp_path: Path) -> None:
    folder = exported(Net(), tmp_path / "a", "{}", 0)
    kept = mould.Moulds()
    for number in range(20):
        kept.keep(number, folder)
    assert [number for number in range(20) if kept.get(number)] == list(range(12, 20))
    kept.keep(None, folder)
    assert kept.get(None) is None


@pytest.mark.parametrize("method", METHODS)
def test_the_generators_of_every_method_have_a_structure(method: str) -> None:
    generator = generator_from_config(translator_config(method, "toy")).eval()
    module = export.photographs(generator, int(generator.stride), "running")
    assert key(module) is not None
    generator.load_state_dict({name: tensor + 1 for name, tensor in generator.state_dict().items()})
    assert key(export.photographs(generator, int(generator.stride), "running")) == key(module)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_generators_of_every_method_are_poured_as_they_are_exported(method: str, tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        generator = generator_from_config(translator_config(method, "toy")).eval()
        found.append(export.photographs(generator, int(generator.stride), "running"))
    exported(found[0], tmp_path / "a", "{}", 1)
    poured = saved(found[1], tmp_path / "b", "{}", 2)
    assert contents(poured) == contents(exported(found[1], tmp_path / "c", "{}", 2))
