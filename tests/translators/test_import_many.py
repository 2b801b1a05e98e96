"""Files of ComboGAN's, ToDayGAN's and StarGAN's public codes, rebuilt here as plain Sequentials."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from d2n.backbones.mdir_unet import MdirUNet
from d2n.cli import cli
from d2n.config import METHODS, translator_config
from d2n.errors import WeightsError
from d2n.translators.checkpoint import load_generator, save_generator
from d2n.translators.import_weights import import_generator, method_of

C = 4


class Block(nn.Module):
    def __init__(self, name: str, layers: list[nn.Module]) -> None:
        super().__init__()
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + next(self.children())(x)


def half(layers: list[nn.Module]) -> nn.Module:
    """A network whose layers stand in one list ``model``, drawn from one seed."""
    made = nn.Module()
    made.model = nn.Sequential(*layers)
    random = torch.Generator().manual_seed(len(layers))
    for parameter in made.parameters():
        nn.init.normal_(parameter, 0.1, 0.2, generator=random)
    return made.eval()


def combo_block(norm: type[nn.Module], dropout: bool) -> Block:
    def conv() -> list[nn.Module]:
        return [
            nn.ReflectionPad2d(1),
            nn.Conv2d(4 * C, 4 * C, 3, bias=norm is nn.InstanceNorm2d),
            norm(4 * C),
        ]

    return Block("conv_block", [*conv(), nn.PReLU(), *([nn.Dropout(0.5)] if dropout else []), *conv()])


def encoder(blocks: int, norm: type[nn.Module] = nn.InstanceNorm2d, dropout: bool = False) -> nn.Module:
    bias = norm is nn.InstanceNorm2d
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, C, 7, bias=bias), norm(C), nn.PReLU()]
    for c in (C, 2 * C):
        layers += [nn.Conv2d(c, 2 * c, 3, stride=2, padding=1, bias=bias), norm(2 * c), nn.PReLU()]
    return half([*layers, *(combo_block(norm, dropout) for _ in range(blocks))])


def decoder(blocks: int, norm: type[nn.Module] = nn.InstanceNorm2d, dropout: bool = False) -> nn.Module:
    layers: list[nn.Module] = [combo_block(norm, dropout) for _ in range(blocks)]
    for c in (4 * C, 2 * C):
        up = nn.ConvTranspose2d(c, c // 2, 4, stride=2, padding=1, bias=norm is nn.InstanceNorm2d)
        layers += [up, norm(c // 2), nn.PReLU()]
    return half([*layers, nn.ReflectionPad2d(3), nn.Conv2d(C, 3, 7), nn.Tanh()])


def stargan(domains: int, blocks: int) -> nn.Module:
    def norm(c: int) -> nn.Module:
        return nn.InstanceNorm2d(c, affine=True, track_running_stats=True)

    layers: list[nn.Module] = [nn.Conv2d(3 + domains, C, 7, padding=3, bias=False), norm(C), nn.ReLU()]
    for c in (C, 2 * C):
        layers += [nn.Conv2d(c, 2 * c, 4, stride=2, padding=1, bias=False), norm(2 * c), nn.ReLU()]
    for _ in range(blocks):
        convs = [nn.Conv2d(4 * C, 4 * C, 3, padding=1, bias=False) for _ in range(2)]
        layers.append(Block("main", [convs[0], norm(4 * C), nn.ReLU(), convs[1], norm(4 * C)]))
    for c in (4 * C, 2 * C):
        layers += [nn.ConvTranspose2d(c, c // 2, 4, stride=2, padding=1, bias=False), norm(c // 2), nn.ReLU()]
    made = half([*layers, nn.Conv2d(C, 3, 7, padding=3, bias=False), nn.Tanh()])
    named = nn.Module()
    named.main = made.model
    return named.train()  # as the public code generates


def saved(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.parametrize(("norm", "dropout"), [(nn.InstanceNorm2d, True), (nn.BatchNorm2d, False)])
def test_an_encoder_and_a_decoder_are_one_generator(
    tmp_path: Path, norm: type[nn.Module], dropout: bool
) -> None:
    down, up = encoder(1, norm, dropout), decoder(2, norm, dropout)
    files = saved(down, tmp_path / "150_net_G1.pth"), saved(up, tmp_path / "150_net_G2.pth")
    network, found = import_generator(files[0], translator_config("todaygan"), decoder=files[1])
    assert (found.generator, found.generator_blocks, found.generator_channels) == ("resnet_prelu", 3, C)
    assert found.dropout == dropout
    save_generator(tmp_path / "ours", network, found)
    loaded, _ = load_generator(tmp_path / "ours")
    x = torch.rand(1, 3, 16, 20) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), up.model(down.model(x)), rtol=1e-5, atol=1e-6)


def test_stargans_generator_is_folded_to_the_domain_that_is_named(tmp_path: Path) -> None:
    public = stargan(3, 2)
    file = saved(public, tmp_path / "200000-G.ckpt")
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    for domain in range(3):
        network, found = import_generator(file, translator_config("stargan"), domain=domain)
        assert (found.generator_blocks, found.generator_channels) == (2, C)
        planes = torch.zeros(2, 3, 16, 16)
        planes[:, domain] = 1
        with torch.no_grad():
            expected = public.main(torch.cat([x, planes], dim=1))
            torch.testing.assert_close(network.eval()(x), expected, rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_one_line_with_the_difference(tmp_path: Path) -> None:
    down, up = saved(encoder(1), tmp_path / "e.pth"), saved(decoder(1), tmp_path / "d.pth")
    star = saved(stargan(2, 1), tmp_path / "star.ckpt")
    batch = saved(decoder(1, nn.BatchNorm2d), tmp_path / "batch.pth")
    today, stars = translator_config("todaygan"), translator_config("stargan")
    for file, config, options, says in (
        (down, today, {}, r"is an encoder of ComboGAN or ToDayGAN: name the decoder .* by --decoder"),
        (up, today, {"decoder": down}, r"is a decoder of ComboGAN or ToDayGAN: name the encoder .* as FILE"),
        (down, today, {"decoder": star}, r"--decoder names no decoder"),
        (
            down,
            today,
            {"decoder": batch},
            r"weights of another architecture: .*blocks\.1\.norm1\.weight unknown",
        ),
        (down, translator_config("cyclegan"), {"decoder": up}, r"expected --method combogan or todaygan"),
        (star, stars, {}, r"generator of 2 domains: say which it shall make by --domain, from 0 to 1"),
        (star, stars, {"domain": 2}, r"--domain is 2, and StarGAN's generator here has 2: expected 0 to 1"),
        (star, stars, {"decoder": up}, r"is a whole generator, --decoder is for the encoders"),
        (down, today, {"domain": 0}, r"--domain is for StarGAN's generator"),
        (
            star,
            today,
            {"domain": 0},
            r"network is a conditioned, and todaygan has .*: expected --method stargan",
        ),
    ):
        with pytest.raises(WeightsError, match=says) as caught:
            import_generator(file, config, **options)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["model.0.weight", "conv2.weight", "model_rgb.0.0.weight"])
def test_a_discriminator_is_named_as_one(tmp_path: Path, key: str) -> None:
    torch.save({key: torch.zeros(2, 3, 4, 4), "main.0.weight": torch.zeros(2, 3, 4, 4)}, tmp_path / "d.pth")
    with pytest.raises(WeightsError, match=r"d\.pth: is a discriminator, expected a generator"):
        import_generator(tmp_path / "d.pth", translator_config("cyclegan"))


def test_the_command_line_finds_the_method_itself(tmp_path: Path) -> None:
    star = saved(stargan(2, 1), tmp_path / "star.ckpt")
    down, up = saved(encoder(1), tmp_path / "e.pth"), saved(decoder(1), tmp_path / "d.pth")
    assert (method_of(star), method_of(down)) == ("stargan", "combogan")
    done = CliRunner().invoke(cli, ["import-weights", str(star), str(tmp_path / "star"), "--domain", "1"])
    assert done.exit_code == 0, done.output
    assert "a conditioned of stargan" in done.output
    halves = [str(down), str(tmp_path / "today"), "--decoder", str(up), "--method", "todaygan"]
    done = CliRunner().invoke(cli, ["import-weights", *halves])
    assert done.exit_code == 0, done.output
    _, config = load_generator(tmp_path / "today")
    assert config["method"] == "todaygan"
    help_text = CliRunner().invoke(cli, ["import-weights", "--help"]).output
    assert all(method in help_text for method in METHODS)


def test_mdirs_p2p_unet_is_the_photometric_network_and_its_others_are_refused(tmp_path: Path) -> None:
    public = MdirUNet(3, C).eval()
    torch.save({"net": {"model_state": public.state_dict()}}, tmp_path / "u.pth")
    assert method_of(tmp_path / "u.pth") == "photometric"
    network, found = import_generator(tmp_path / "u.pth", translator_config("photometric"))
    assert (found.generator, found.unet_depth, found.generator_channels) == ("mdir_unet", 3, C)
    x = torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        assert torch.equal(network.eval()(x), public(x))
    torch.save({"net": {"model_state": {"outerblock.0.bias": torch.zeros(64)}}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth: is a U-Net of mdir besides its p2p_unet"):
        import_generator(tmp_path / "other.pth", translator_config("pix2pix"))
