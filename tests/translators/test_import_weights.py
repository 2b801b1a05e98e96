"""State dicts of the public implementation: rebuilt here as plain Sequentials, mapped both ways."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from d2n.errors import WeightsError
from d2n.translators.checkpoint import load_generator, save_generator
from d2n.translators.import_weights import (
    export_reference,
    generator_of,
    import_generator,
    import_reference,
    read_reference_file,
)
from d2n.translators.networks import PatchDiscriminator, ResNetGenerator, UNetGenerator

Batch = nn.BatchNorm2d
Instance = partial(nn.InstanceNorm2d, affine=False, track_running_stats=False)


def seeded(module: nn.Module) -> nn.Module:
    random = torch.Generator().manual_seed(0)
    for p in module.parameters():
        nn.init.normal_(p, 0, 0.1, generator=random)
    return module.eval()


class _Block(nn.Module):
    def __init__(self, c: int, norm, bias: bool, dropout: bool) -> None:
        super().__init__()
        middle = [nn.Dropout(0.5)] if dropout else []
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(c, c, 3, bias=bias),
            norm(c),
            nn.ReLU(),
            *middle,
            nn.ReflectionPad2d(1),
            nn.Conv2d(c, c, 3, bias=bias),
            norm(c),
        )

    def forward(self, x):
        return x + self.conv_block(x)


class _Down(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("filt", torch.outer(line, line).repeat(c, 1, 1, 1))

    def forward(self, x):
        padded = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
        return nn.functional.conv2d(padded, self.filt, stride=2, groups=x.shape[1])


class _Up(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
        self.register_buffer("filt", torch.outer(line, line).repeat(c, 1, 1, 1))

    def forward(self, x):
        padded = nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
        wide = nn.functional.conv_transpose2d(padded, self.filt, stride=2, padding=1, groups=x.shape[1])
        return wide[:, :, 2:-2, 2:-2]


class PublicAntialiased(nn.Module):
    """CUT's generator: blurred, then every second pixel; interpolated, then a convolution."""

    def __init__(self, c: int, n: int) -> None:
        super().__init__()
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, c, 7), Instance(c), nn.ReLU()]
        for w in (c, 2 * c):
            layers += [nn.Conv2d(w, 2 * w, 3, 1, 1), Instance(2 * w), nn.ReLU(), _Down(2 * w)]
        layers += [_Block(4 * c, Instance, True, False) for _ in range(n)]
        for w in (4 * c, 2 * c):
            layers += [_Up(w), nn.Conv2d(w, w // 2, 3, 1, 1), Instance(w // 2), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(c, 3, 7), nn.Tanh())

    def forward(self, x):
        return self.model(x)


class PublicResNet(nn.Module):
    def __init__(self, c: int, n: int, norm, dropout: bool) -> None:
        super().__init__()
        b = norm is not Batch
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, c, 7, bias=b), norm(c), nn.ReLU()]
        for w in (c, 2 * c):
            layers += [nn.Conv2d(w, 2 * w, 3, 2, 1, bias=b), norm(2 * w), nn.ReLU()]
        layers += [_Block(4 * c, norm, b, dropout) for _ in range(n)]
        for w in (4 * c, 2 * c):
            layers += [nn.ConvTranspose2d(w, w // 2, 3, 2, 1, 1, bias=b), norm(w // 2), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(c, 3, 7), nn.Tanh())

    def forward(self, x):
        return self.model(x)


class _Level(nn.Module):
    def __init__(self, outer: int, inner: int, norm, inside=None, outermost=False, dropout=False) -> None:
        super().__init__()
        b = norm is not Batch
        down = nn.Conv2d(3 if outermost else outer, inner, 4, 2, 1, bias=b)
        width = inner if inside is None else 2 * inner
        up = nn.ConvTranspose2d(width, 3 if outermost else outer, 4, 2, 1, bias=b or outermost)
        self.outermost = outermost
        if outermost:
            parts = [down, inside, nn.ReLU(), up, nn.Tanh()]
        elif inside is None:
            parts = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, norm(outer)]
        else:
            parts = [nn.LeakyReLU(0.2), down, norm(inner), inside, nn.ReLU(), up, norm(outer)]
            parts += [nn.Dropout(0.5)] if dropout else []
        self.model = nn.Sequential(*parts)

    def forward(self, x):
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class PublicUNet(nn.Module):
    def __init__(self, c: int, depth: int, norm, dropout: bool) -> None:
        super().__init__()
        level = _Level(8 * c, 8 * c, norm)
        for _ in range(depth - 5):
            level = _Level(8 * c, 8 * c, norm, level, dropout=dropout)
        for width in (4 * c, 2 * c, c):
            level = _Level(width, 2 * width, norm, level)
        self.model = _Level(3, c, norm, level, outermost=True)

    def forward(self, x):
        return self.model(x)


def assert_same_map(network: nn.Module, public: nn.Module, x: torch.Tensor) -> None:
    theirs = public.state_dict()
    import_reference(network, theirs)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), public(x), rtol=1e-5, atol=1e-6)
    back = export_reference(network)
    assert sorted(back) == sorted(theirs)
    assert all(torch.equal(back[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("dropout", [False, True])
def test_resnet_both_ways(norm: str, dropout: bool) -> None:
    public = seeded(PublicResNet(4, 3, Batch if norm == "batch" else Instance, dropout))
    assert_same_map(ResNetGenerator(3, 4, norm, dropout), public, torch.randn(1, 3, 16, 24))
    expected = {"generator_blocks": 3, "generator_channels": 4, "generator_norm": norm, "dropout": dropout}
    assert generator_of(public.state_dict()) == ("resnet", expected)


def test_the_antialiased_resnet_of_cut(config, tmp_path: Path) -> None:
    public = seeded(PublicAntialiased(4, 2))
    torch.save(public.state_dict(), tmp_path / "latest_net_G.pth")
    network, found = import_generator(tmp_path / "latest_net_G.pth", config("cut"))
    assert (found.antialias, found.generator_blocks) == (True, 2)
    x = torch.randn(1, 3, 20, 36)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), public(x), rtol=1e-5, atol=1e-6)
    back = export_reference(network)
    assert sorted(back) == sorted(key for key in public.state_dict() if not key.endswith("filt"))


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize(("depth", "dropout"), [(5, False), (6, False), (7, True)])
def test_unet_both_ways(norm: str, depth: int, dropout: bool) -> None:
    public = seeded(PublicUNet(2, depth, Batch if norm == "batch" else Instance, dropout))
    assert_same_map(UNetGenerator(depth, 2, norm, dropout), public, torch.randn(1, 3, 2**depth, 2**depth))
    expected = {"unet_depth": depth, "generator_channels": 2, "generator_norm": norm}
    assert generator_of(public.state_dict()) == ("unet", expected)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_patchgan_both_ways(norm: str) -> None:
    make, b = (Batch, False) if norm == "batch" else (Instance, True)
    layers = [nn.Conv2d(6, 4, 4, 2, 1), nn.LeakyReLU(0.2)]
    for w, wider, stride in ((4, 8, 2), (8, 16, 2), (16, 32, 1)):
        layers += [nn.Conv2d(w, wider, 4, stride, 1, bias=b), make(wider), nn.LeakyReLU(0.2)]
    public = nn.Module()
    public.model = nn.Sequential(*layers, nn.Conv2d(32, 1, 4, 1, 1))
    public.forward = public.model.forward
    assert_same_map(PatchDiscriminator(6, 4, 3, norm), seeded(public), torch.randn(1, 6, 40, 40))


def test_pixel_discriminator_keeps_its_own_list() -> None:
    keys = export_reference(PatchDiscriminator(3, 4, 0, "batch"))
    assert sorted(k for k in keys if k.endswith("weight")) == [f"net.{i}.weight" for i in (0, 2, 3, 5)]
    assert "net.5.bias" not in keys


def test_old_running_statistics_of_instance_norms_are_passed_over() -> None:
    new = PublicResNet(4, 1, Instance, False).state_dict()
    with_statistics, without = ResNetGenerator(1, 4), ResNetGenerator(1, 4)
    import_reference(with_statistics, {**new, "model.2.running_mean": torch.zeros(4)})
    import_reference(without, new)
    for mine, theirs in zip(with_statistics.parameters(), without.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_another_architecture_names_the_keys() -> None:
    weights = PublicResNet(4, 2, Instance, False).state_dict()
    with pytest.raises(WeightsError, match=r"blocks\.2\.conv1\.weight missing"):
        import_reference(ResNetGenerator(3, 4), weights)
    with pytest.raises(WeightsError, match="neither late_input nor upsampling"):
        import_reference(ResNetGenerator(2, 4, upsampling="resize"), weights)


def test_files_of_data_parallel_runs_and_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "latest_net_G.pth"
    torch.save({f"module.{k}": v for k, v in PublicResNet(4, 1, Instance, False).state_dict().items()}, path)
    import_reference(ResNetGenerator(1, 4), read_reference_file(path))
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match="cannot be read as a state dict"):
        read_reference_file(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(WeightsError, match="expected a state dict of tensors"):
        read_reference_file(path)
    with pytest.raises(WeightsError, match="neither a U-Net nor a ResNet"):
        generator_of({})


def test_a_file_alone_tells_its_network(config, tmp_path: Path) -> None:
    public = seeded(PublicResNet(4, 2, Instance, True))
    torch.save(public.state_dict(), tmp_path / "latest_net_G_A.pth")
    network, found = import_generator(
        tmp_path / "latest_net_G_A.pth", config("cyclegan", upsampling="resize")
    )
    assert (found.generator_blocks, found.generator_channels, found.dropout) == (2, 4, True)
    save_generator(tmp_path / "ours", network, found)
    loaded, _ = load_generator(tmp_path / "ours")
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), public(x), rtol=1e-5, atol=1e-6)
