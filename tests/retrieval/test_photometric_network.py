"""The photometric normalisation network against its published layout, written out from the tensors of a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from d2n.config import NetworkConfig, RetrievalTrainingConfig
from d2n.errors import ConfigError, WeightsError
from d2n.retrieval import network
from d2n.retrieval.average import Average
from d2n.retrieval.optimiser import adam
from d2n.retrieval.photometric_network import PhotometricNetwork, read_photometric

TOY = NetworkConfig(backbone="toy")


def published(levels: int, batch_norm: bool = True, seed: int = 0) -> dict[str, Tensor]:
    """The state of mdir's p2p_unet by its names and shapes, statistics of batch norm away from 0 and 1."""
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng) * (2 / (16 * shape[1])) ** 0.5

    state = {"outerblock.0.weight": draw(64, 3, 4, 4), "outerblock.3.bias": torch.randn(3, generator=rng)}
    state["outerblock.3.weight"] = draw(128, 3, 4, 4)
    widths, prefix = (64, 128, 256, 512, 512), "outerblock.2.nested."
    for level in range(levels):
        outer, width, is_last = widths[level], widths[level + 1], level + 1 == levels
        up = 2 if is_last else 3 + batch_norm
        state[f"{prefix}0.weight"] = draw(width, outer, 4, 4)
        norms = [] if not batch_norm else [(up + 1, outer), *([] if is_last else [(1, width)])]
        for place, channels in norms:
            state[f"{prefix}{place}.weight"] = 1 + 0.1 * torch.randn(channels, generator=rng)
            state[f"{prefix}{place}.bias"] = 0.1 * torch.randn(channels, generator=rng)
            state[f"{prefix}{place}.running_mean"] = 0.1 * torch.randn(channels, generator=rng)
            state[f"{prefix}{place}.running_var"] = 1 + torch.rand(channels, generator=rng)
            state[f"{prefix}{place}.num_batches_tracked"] = torch.tensor(5)
        state[f"{prefix}{up}.weight"] = draw(width * (1 if is_last else 2), outer, 4, 4)
        prefix += f"{2 + batch_norm}.nested."
    return state


def forward(state: Mapping[str, Tensor], levels: int, x: Tensor) -> Tensor:
    """RGB in [-1, 1], sides a multiple of the stride, to the same."""
    x = functional.leaky_relu(functional.conv2d(x, state["outerblock.0.weight"], stride=2, padding=1), 0.2)
    x = level(state, "outerblock.2.nested.", levels, x)
    up = functional.conv_transpose2d(
        x, state["outerblock.3.weight"], state["outerblock.3.bias"], stride=2, padding=1
    )
    return up.tanh()


def level(state: Mapping[str, Tensor], prefix: str, left: int, x: Tensor) -> Tensor:
    has_norm = any(key.endswith("running_mean") for key in state)

    def norm(place: int, y: Tensor) -> Tensor:
        if not has_norm:
            return y
        names = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(y, *(state[f"{prefix}{place}.{name}"] for name in names))  # type: ignore[arg-type] # eps

    y = functional.conv2d(x, state[f"{prefix}0.weight"], stride=2, padding=1)
    if left == 1:
        y, up = y.relu(), 2
    else:
        y = functional.leaky_relu(norm(1, y), 0.2)
        y, up = level(state, f"{prefix}{2 + has_norm}.nested.", left - 1, y), 3 + has_norm
    y = functional.conv_transpose2d(y, state[f"{prefix}{up}.weight"], stride=2, padding=1)
    return torch.cat([x, norm(up + 1, y).relu()], dim=1)


def as_file(path: Path, state: Mapping[str, Tensor], **more: Any) -> Path:
    params = {"model": {"architecture": "p2p_unet"}, "runtime": {"wrappers": "reflectpad"}}
    told = {"type": "SingleNetwork", "frozen": False, "network_params": params, "model_state": dict(state)}
    torch.save({"net": {**told, **more}, "epoch": 3}, path)
    return path


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_published_file_gives_what_its_tensors_say(tmp_path: Path, batch_norm: bool) -> None:
    state = published(2, batch_norm)
    lit = read_photometric(as_file(tmp_path / "net.pth", state))
    images = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    expected = (forward(state, 2, 2 * images - 1) + 1) / 2
    assert lit.stride == 8
    assert torch.allclose(lit(images), expected, atol=1e-5)
    assert float((expected - images).abs().mean()) > 0.1


def test_any_size_comes_back_in_its_size_with_borders_replicated(tmp_path: Path) -> None:
    state = published(2)
    lit = read_photometric(as_file(tmp_path / "net.pth", state))
    images = torch.rand(1, 3, 13, 18, generator=torch.Generator().manual_seed(1))
    padded = functional.pad(2 * images - 1, (3, 3, 1, 2), mode="replicate")
    expected = (forward(state, 2, padded)[..., 1:14, 3:21] + 1) / 2
    assert torch.allclose(lit(images), expected, atol=1e-5)


def test_the_published_depth_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        lit = PhotometricNetwork()
    assert lit.stride == 256
    down = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 4 * 512 * 512)  # 4 x 4 kernels
    up = 16 * (512 * 512 + 3 * 1024 * 512 + 1024 * 256 + 512 * 128 + 256 * 64 + 128 * 3) + 3  # and a bias
    norms = 2 * (128 + 256 + 4 * 512 + 64 + 128 + 256 + 4 * 512)  # down, but for the innermost, and up
    assert sum(p.numel() for p in lit.parameters()) == down + up + norms


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    cases = {
        "no photometric network": {"a": torch.zeros(1)},
        "not the photometric network of mdir": {**published(2), "more": torch.zeros(1)},
        r"not the photometric network of mdir \(1 tensors differ, first outerblock.3.bias": {
            **published(1),
            "outerblock.3.bias": torch.zeros(4),
        },
    }
    for said, state in cases.items():
        with pytest.raises(WeightsError, match=said) as caught:
            read_photometric(as_file(tmp_path / "net.pth", state))
        assert "\n" not in str(caught.value)
    with pytest.raises(WeightsError, match="a chain of networks"):
        read_photometric(as_file(tmp_path / "net.pth", published(1), network_hierarchy={}))
    with pytest.raises(WeightsError, match=r"network\.light_weights"):
        read_photometric(tmp_path / "absent.pth")


def test_a_network_with_it_is_saved_whole_and_trains_without_it(tmp_path: Path) -> None:
    file = as_file(tmp_path / "net.pth", published(1))
    config = dataclasses.replace(TOY, light="photometric", light_weights=str(file))
    net = network.build(config, seed=3)
    assert network.fingerprint(net) != network.fingerprint(network.build(TOY, seed=3))
    network.save(tmp_path / "saved", net, config)
    file.unlink()
    again, found, _ = network.load(tmp_path / "saved")
    assert found == dataclasses.replace(config, light_weights=None)
    assert network.fingerprint(again) == network.fingerprint(net)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again(images), net(images))
    assert torch.equal(network.as_told(again, found)(images), net(images))
    learned = {id(p) for group in adam(net, RetrievalTrainingConfig()).param_groups for p in group["params"]}
    assert net.light is not None
    assert learned.isdisjoint(map(id, net.light.parameters()))
    average = Average(2, 2)
    average.after(1, net)
    assert not [name for name in average.state()["sums"] if name.startswith("light.")]
    assert not net.train().light.training  # type: ignore[union-attr] # as above


def test_without_a_file_of_its_own_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"network.light_weights names no file"):
        network.build(dataclasses.replace(TOY, light="photometric"))
