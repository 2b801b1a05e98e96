import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from d2n.config import NetworkConfig, RetrievalTrainingConfig
from d2n.errors import ConfigError, WeightsError
from d2n.retrieval import network
from d2n.retrieval.network import GeM, RetrievalNetwork, l2n
from d2n.retrieval.optimiser import adam
from d2n.retrieval.whitening import Whitening

TOY = NetworkConfig(backbone="toy")


@torch.no_grad()
def test_gem_of_known_numbers() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    assert float(GeM(3.0)(x)) == pytest.approx(25 ** (1 / 3), rel=1e-6)  # (1 + 8 + 27 + 64) / 4 = 25
    assert float(GeM(1.0)(x)) == pytest.approx(2.5)
    assert float(GeM(60.0)(x)) == pytest.approx(4.0 * 0.25 ** (1 / 60), rel=1e-5)


@torch.no_grad()
def test_gem_clamps_to_eps() -> None:
    assert float(GeM(3.0, eps=0.5)(torch.full((1, 1, 2, 2), -7.0))) == pytest.approx(0.5)


@torch.no_grad()
def test_gem_has_one_p_or_one_a_channel() -> None:
    assert GeM().p.shape == (1,)
    pool = GeM(channels=2)
    assert pool.p.shape == (2,)
    pool.p.copy_(torch.tensor([1.0, 3.0]))
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2).repeat(1, 2, 1, 1)
    assert pool(x)[0].tolist() == pytest.approx([2.5, 25 ** (1 / 3)])


def test_gem_learns_p() -> None:
    pool = GeM().double()
    x = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    pool(x).sum().backward()
    assert pool.p.grad is not None
    assert float(pool.p.grad) > 0  # a higher power comes closer to the maximum
    assert torch.autograd.gradcheck(pool, (x.requires_grad_(),))


def test_l2n_divides_by_the_norm_plus_eps() -> None:
    out = l2n(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), eps=5.0)
    assert torch.allclose(out, torch.tensor([[0.3, 0.4], [0.0, 0.0]]))


@pytest.mark.parametrize(
    ("kind", "pixel", "expected"),
    [
        ("imagenet", (0.485, 0.456, 0.406), (0.0, 0.0, 0.0)),
        ("imagenet", (0.714, 0.68, 0.631), (1.0, 1.0, 1.0)),
        ("caffe", (1.0, 1.0, 1.0), (132.0, 138.0, 151.0)),
        ("tf", (0.0, 0.5, 1.0), (-1.0, 0.0, 1.0)),
    ],
)
def test_the_input_is_normalised_inside(
    kind: network.Input, pixel: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    seen: list[torch.Tensor] = []

    class Trunk(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return x

    RetrievalNetwork(Trunk(), input=kind)(torch.tensor(pixel).view(1, 3, 1, 1).expand(1, 3, 4, 4))
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-4)


def test_the_toy_network_is_small_and_gives_unit_descriptors() -> None:
    toy = network.build(TOY)
    assert sum(p.numel() for p in toy.parameters()) == 330361
    out = toy(torch.rand(3, 3, 64, 64))
    assert out.shape == (3, 128)
    assert torch.allclose(out.norm(dim=1), torch.ones(3), atol=1e-4)


def test_vgg16_is_as_published() -> None:
    vgg = network.build(NetworkConfig(backbone="vgg16", weights="none"))
    assert sum(p.numel() for p in vgg.parameters()) == 14_714_688 + 1
    assert isinstance(vgg.features[-1], nn.ReLU)  # type: ignore[index]  # a Sequential
    with torch.inference_mode():
        assert vgg.features(torch.zeros(1, 3, 362, 362)).shape == (1, 512, 22, 22)


def test_the_seed_decides_untrained_weights_and_leaves_the_global_one_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = network.build(TOY, 1), network.build(TOY, 1), network.build(TOY, 2)
    assert network.fingerprint(one) == network.fingerprint(same)
    assert network.fingerprint(one) != network.fingerprint(other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_batch_norm_stays_in_eval_while_training() -> None:
    toy = network.build(TOY).train()
    norms = [m for m in toy.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(m.training for m in norms)
    assert toy.training
    toy.train_batch_norm = True
    toy.train()
    assert all(m.training for m in norms)


def test_the_power_of_multiple_scales_is_p_without_a_head() -> None:
    bare = RetrievalNetwork(nn.Identity(), GeM(2.5))
    assert float(bare.multiscale_power) == 2.5
    assert float(network.build(TOY).multiscale_power) == 1.0


def test_saved_networks_come_back_to_the_bit(tmp_path: Path) -> None:
    config = dataclasses.replace(TOY, gem_p=2.0, gem_per_channel=True, input="tf")
    toy = network.build(config, seed=3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stub
    whitening = Whitening(np.arange(128.0), np.linspace(0, 1, 64 * 128).reshape(64, 128)[:, ::-1])
    network.save(tmp_path, toy, config, whitening)
    loaded, found, white = network.load(tmp_path)
    assert found == config
    assert network.fingerprint(loaded) == network.fingerprint(toy)
    assert white is not None
    assert np.array_equal(white.projection, whitening.projection)
    images = torch.rand(2, 3, 64, 64)
    assert torch.allclose(loaded(images), toy(images), atol=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {"network.safetensors", "network.json"}


def test_a_saved_file_is_a_weights_file(tmp_path: Path) -> None:
    toy = network.build(TOY, seed=3)
    network.save(tmp_path, toy, TOY)
    again = network.build(
        NetworkConfig(backbone="toy", weights=str(tmp_path / "network.safetensors")), seed=9
    )
    assert network.fingerprint(again) == network.fingerprint(toy)
    assert network.load(tmp_path)[2] is None


def test_a_damaged_or_absent_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        network.load(tmp_path)
    network.save(tmp_path, network.build(TOY), TOY)
    (tmp_path / "network.safetensors").write_bytes(b"half")
    with pytest.raises(WeightsError, match="not a weights file that can be read"):
        network.load(tmp_path)
    (tmp_path / "network.json").write_text("{")
    with pytest.raises(WeightsError, match="not the JSON"):
        network.load(tmp_path)
    (tmp_path / "network.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(WeightsError, match="format 99"):
        network.load(tmp_path)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'resnet50'"):
        network.build(NetworkConfig(backbone="resnet5O", weights="none"))
    with pytest.raises(ConfigError, match=r"network\.input"):
        RetrievalNetwork(nn.Identity(), input="bgr")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(("pooling", "dim"), [("mac", 128), ("spoc", 128), ("rmac", 128), ("mixvpr", 12)])
def test_other_poolings_are_built_trained_and_saved(tmp_path: Path, pooling: str, dim: int) -> None:
    config = dataclasses.replace(TOY, pooling=pooling, mix_side=3, mix_depth=1, mix_outputs=6, mix_rows=2)
    net = network.build(config, seed=3)
    assert network.descriptor_dim(net) == dim
    assert float(net.multiscale_power) == 1
    network.save(tmp_path, net, config)
    again, found, _ = network.load(tmp_path)
    assert found == config
    assert network.fingerprint(again) == network.fingerprint(net)
    groups = adam(net, RetrievalTrainingConfig()).param_groups
    assert [len(group["params"]) for group in groups] == [len(list(net.parameters())), 0]


@pytest.mark.parametrize("pooling", ["mac", "spoc", "rmac"])
def test_published_networks_of_other_poolings_are_taken_as_they_are_meant(
    tmp_path: Path, pooling: str
) -> None:
    squeeze = network.build(NetworkConfig(backbone="squeezenet1_1", weights="none"))
    trunk = {f"features.{key}": value for key, value in squeeze.features.state_dict().items()}
    meta = {"architecture": "squeezenet1_1", "pooling": pooling, "mean": [0.5] * 3, "std": [0.5] * 3}
    torch.save({"meta": meta, "state_dict": trunk}, tmp_path / "net.pth")
    net = network.build(NetworkConfig(backbone="squeezenet1_1", weights=str(tmp_path / "net.pth")))
    assert type(net.pool).__name__.lower() == pooling
    assert net.knobs is not None
    assert net.knobs.pooling == pooling
