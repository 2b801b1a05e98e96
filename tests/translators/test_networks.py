"""Parameter counts and shapes of the published networks; where dropout sits; sizes that do not fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from d2n.errors import D2NError, ShapeError
from d2n.translators.networks import PatchDiscriminator, ResNetGenerator, UNetGenerator, init_weights


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (lambda: UNetGenerator(norm="batch"), 54_413_955),
        (lambda: UNetGenerator(norm="batch", dropout=True), 54_413_955),
        (lambda: UNetGenerator(norm="instance"), 54_409_603),
        (lambda: ResNetGenerator(norm="instance"), 11_378_179),
        (lambda: ResNetGenerator(norm="batch"), 11_383_427),
        (lambda: PatchDiscriminator(3, norm="instance"), 2_764_737),
        (lambda: PatchDiscriminator(3, norm="batch"), 2_765_633),
        (lambda: PatchDiscriminator(6, norm="instance"), 2_767_809),
        (lambda: PatchDiscriminator(6, norm="batch"), 2_768_705),
    ],
)
def test_published_parameter_counts(make, parameters: int) -> None:
    with torch.device("meta"):
        assert count(make()) == parameters


@pytest.mark.parametrize("options", [{}, {"upsampling": "resize"}, {"late_input": True}])
@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
def test_generators_keep_the_size_of_images_that_fit(norm: str, options: dict) -> None:
    x = torch.randn(2, 3, 64, 32)
    assert UNetGenerator(5, 8, norm, **options)(x).shape == x.shape
    assert ResNetGenerator(2, 8, norm, **options)(x).shape == x.shape


def test_outputs_at_256() -> None:
    x = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        assert UNetGenerator(8, 8, "instance")(x).shape == (1, 3, 256, 256)
        assert ResNetGenerator(9, 8)(x).shape == (1, 3, 256, 256)
        assert PatchDiscriminator(base_channels=8)(x).shape == (1, 1, 30, 30)
        assert PatchDiscriminator(base_channels=8, layers=0)(x).shape == (1, 1, 256, 256)


@pytest.mark.parametrize("late_input", [False, True])
def test_resnet_rounds_sides_up_to_four(late_input: bool) -> None:
    assert ResNetGenerator(1, 4, late_input=late_input)(torch.zeros(1, 3, 362, 50)).shape == (1, 3, 364, 52)


@pytest.mark.parametrize("side", [257, 128, 384])
def test_unet_refuses_sides_that_do_not_divide(side: int) -> None:
    with pytest.raises(ShapeError, match=f"256 x {side} pixels, expected sides divisible by 256"):
        UNetGenerator(8, 4)(torch.zeros(1, 3, 256, side))
    assert issubclass(ShapeError, D2NError)


@pytest.mark.parametrize(("layers", "smallest"), [(1, 6), (2, 12), (3, 24), (4, 48)])
def test_smallest_input_of_the_discriminator(layers: int, smallest: int) -> None:
    judge = PatchDiscriminator(base_channels=4, layers=layers, norm="batch")
    assert judge(torch.zeros(2, 3, smallest, smallest)).shape == (2, 1, 1, 1)
    with pytest.raises(ShapeError, match=f"at least {smallest} a side"):
        judge(torch.zeros(2, 3, smallest - 1, smallest))


@pytest.mark.parametrize(("layers", "field"), [(0, 1), (1, 16), (2, 34), (3, 70)])
def test_receptive_field(layers: int, field: int) -> None:
    """The gradient of one central logit reaches exactly that many pixels."""
    judge = PatchDiscriminator(1, 4, layers, "none").double()
    x = torch.randn(1, 1, 160, 160, dtype=torch.float64, requires_grad=True)
    logits = judge(x)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    assert x.grad is not None
    touched = (x.grad[0, 0] != 0).any(dim=0).nonzero()
    assert int(touched.max() - touched.min()) + 1 == field


def test_initial_weights() -> None:
    net = UNetGenerator(6, 16, "batch", generator=torch.Generator().manual_seed(0))
    convolutions = torch.cat(
        [
            p.flatten()
            for m in net.modules()
            if hasattr(m, "stride") and hasattr(m, "weight")
            for p in [m.weight]
        ]
    )
    gammas = torch.cat([m.weight for m in net.modules() if isinstance(m, nn.BatchNorm2d)])
    assert convolutions.mean().abs() < 1e-4
    assert convolutions.std().item() == pytest.approx(0.02, rel=1e-2)
    assert gammas.mean().item() == pytest.approx(1.0, abs=5e-3)
    assert gammas.std().item() == pytest.approx(0.02, rel=0.1)
    assert all((m.bias == 0).all() for m in net.modules() if getattr(m, "bias", None) is not None)


def test_same_generator_gives_same_weights() -> None:
    nets = [ResNetGenerator(1, 4, generator=torch.Generator().manual_seed(7)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*(net.parameters() for net in nets), strict=True))


def test_init_gain_scales_the_weights() -> None:
    net = PatchDiscriminator(base_channels=32, init_gain=0.1)
    assert net.model[2].weight.std().item() == pytest.approx(0.1, rel=0.02)
    init_weights(net, 0.5)
    assert net.model[2].weight.std().item() == pytest.approx(0.5, rel=0.02)


def dropouts(net: nn.Module) -> list[str]:
    return [name for name, module in net.named_modules() if isinstance(module, nn.Dropout)]


def test_unet_drops_out_in_the_three_inner_blocks_only() -> None:
    assert dropouts(UNetGenerator(8, 4, dropout=False)) == []
    assert dropouts(UNetGenerator(8, 4, dropout=True)) == ["up.3.dropout", "up.4.dropout", "up.5.dropout"]
    assert dropouts(UNetGenerator(7, 4, dropout=True)) == ["up.3.dropout", "up.4.dropout"]
    # up.<i> ends level i + 1 of 0 .. 7; the innermost, up.6, has none


def test_resnet_drops_out_in_every_block() -> None:
    assert dropouts(ResNetGenerator(3, 4, dropout=True)) == [f"blocks.{i}.dropout" for i in range(3)]


@pytest.mark.parametrize(
    "make", [lambda d: UNetGenerator(6, 4, dropout=d), lambda d: ResNetGenerator(2, 4, dropout=d)]
)
def test_dropout_acts_in_training_and_rests_in_evaluation(make) -> None:
    net, x = make(True), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(net(x), net(x))
        net.eval()
        assert torch.equal(net(x), net(x))


def test_no_norm_on_the_outermost_and_innermost_down_convolution() -> None:
    down = UNetGenerator(5, 4, "batch").down
    assert [isinstance(level.norm, nn.BatchNorm2d) for level in down] == [False, True, True, True, False]


def test_a_bias_only_under_instance_norm_and_on_the_last_convolution() -> None:
    batch = {name for name, _ in ResNetGenerator(1, 4, "batch").named_parameters() if name.endswith("bias")}
    norms = {
        name for name, m in ResNetGenerator(1, 4, "batch").named_modules() if isinstance(m, nn.BatchNorm2d)
    }
    assert batch == {"last.bias"} | {f"{name}.bias" for name in norms}
    judged = {n for n, _ in PatchDiscriminator(3, 4, 3, "none").named_parameters() if n.endswith("bias")}
    assert judged == {"model.0.bias", "model.11.bias"}
