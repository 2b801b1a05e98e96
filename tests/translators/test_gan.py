"""What all methods share: resumption to the bit, seeds, EMA, clipping, precision, wrong checkpoints."""

from __future__ import annotations

import pytest
import torch

from d2n.core import Compute
from d2n.errors import CheckpointError, ConfigError
from d2n.translators import METHODS, build

EVERYTHING = {
    "ema_decay": 0.9,
    "diffaugment": ["translation", "cutout"],
    "lambda_history": 0.1,
    "lambda_edge": 1.0,
    "lambda_luminance": 1.0,
    "spectral_norm": True,
    "discriminator_lr": 2e-2,
    "accumulate": 2,
    "recompute": True,
    "gradient_clip": 1.0,
    "lr_schedule": "cosine",
    "dropout": True,
    "lr": 1e-2,
}
METHOD_KNOBS = {
    "pix2pix": {**EVERYTHING, "unet_depth": 6, "pool_size": 3},
    "cyclegan": {**EVERYTHING, "pool_size": 3, "lambda_identity": 0.5},
    "cut": {**EVERYTHING, "pool_size": 3, "lambda_identity": 1.0},
    "hedngan": {**EVERYTHING, "pool_size": 3},
    "combogan": {**EVERYTHING, "accumulate": 1, "pool_size": 3, "lambda_identity": 0.5},
    "stargan": {**EVERYTHING, "accumulate": 1, "n_critic": 2},
    "photometric": {**EVERYTHING, "generator": "mdir_unet", "unet_depth": 3, "generator_norm": "batch"},
    "todaygan": {**EVERYTHING, "accumulate": 1, "pool_size": 3, "discriminator_layers": 2},
}


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for key in sorted(value, key=str) for t in tensors(value[key])]
    if isinstance(value, list | tuple):
        return [t for inner in value for t in tensors(inner)]
    return []


def same(a, b) -> bool:
    ours, theirs = tensors(a), tensors(b)
    return len(ours) == len(theirs) and all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resumed_equals_uninterrupted_to_the_bit(config, batch, method, precision) -> None:
    """Everything stochastic on: pool, dropout, DiffAugment, patches."""
    made, side = config(method, **METHOD_KNOBS[method]), 64 if method == "pix2pix" else 32
    whole = build(made, total_steps=6, seed=3, compute=Compute(precision=precision, channels_last=True))
    for step in range(3):
        whole.step(**batch(step, side=side))
    resumed = build(made, total_steps=6, seed=3, compute=Compute(precision=precision, channels_last=True))
    resumed.load_state(whole.state())
    torch.manual_seed(99)  # the global stream must not matter
    for step in range(3, 6):
        resumed.step(**batch(step, side=side))
    torch.manual_seed(5)
    for step in range(3, 6):
        whole.step(**batch(step, side=side))
    assert same(whole.state(), resumed.state())
    assert whole.epoch_losses.mean_and_reset() == resumed.epoch_losses.mean_and_reset()


def test_state_is_a_copy(gan, batch) -> None:
    translator = gan("cyclegan")
    state = translator.state()
    weight = state["networks"]["generator_night"]["last.weight"].clone()
    translator.step(**batch(0))
    assert torch.equal(weight, state["networks"]["generator_night"]["last.weight"])


def test_seed_decides_the_weights_and_leaves_the_global_stream_alone(gan) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    a, b, c = gan("pix2pix", seed=0), gan("pix2pix", seed=0), gan("pix2pix", seed=1)
    assert torch.equal(torch.rand(1), expected)
    assert same(a.state()["networks"], b.state()["networks"])
    assert not same(a.state()["networks"], c.state()["networks"])


def test_dropout_differs_from_step_to_step_and_leaves_the_global_stream_alone(gan, batch) -> None:
    translator = gan("cyclegan", dropout=True, lr=1e-12)  # weights hardly move
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, second = (translator.step(**batch(0))["g_cycle"].item() for _ in range(2))
    assert first != pytest.approx(second, rel=1e-4)
    assert torch.equal(torch.rand(1), expected)


def test_generator_is_the_moving_average_where_there_is_one(gan, batch) -> None:
    translator = gan("cyclegan", ema_decay=0.5, lr=1e-2)
    weight = translator.networks["generator_night"].last.weight
    before = weight.detach().clone()
    translator.step(**batch(0))
    torch.testing.assert_close(translator.generator.last.weight, 0.1 * before + 0.9 * weight.detach())
    assert translator.generator is not translator.networks["generator_night"]
    plain = gan("cyclegan")
    assert plain.generator is plain.networks["generator_night"]


def test_gradient_clip_bounds_the_norm(gan, batch) -> None:
    translator = gan("pix2pix", gradient_clip=0.01)
    translator.step(**batch(0))
    for network in translator.networks.values():
        total = (
            torch.stack([p.grad.square().sum() for p in network.parameters() if p.grad is not None])
            .sum()
            .sqrt()
        )
        assert total.item() == pytest.approx(0.01, rel=1e-3)


def test_history_pulls_towards_the_past(gan, batch) -> None:
    free, held = gan("pix2pix", lr=1e-2), gan("pix2pix", lr=1e-2, lambda_history=1e4)
    start = [p.clone() for p in free.networks["generator"].parameters()]
    moved = []
    for translator in (free, held):
        for step in range(8):
            translator.step(**batch(step))
        parameters = translator.networks["generator"].parameters()
        moved.append(sum((p - s).square().sum().item() for p, s in zip(parameters, start, strict=True)))
    assert moved[1] < 0.5 * moved[0]


@pytest.mark.parametrize("method", sorted(METHODS))
def test_bf16_losses_lie_near_float32_and_stay_float32(config, batch, method) -> None:
    made = config(method, **({"unet_depth": 3} if method == "pix2pix" else {}))
    found = [
        build(made, total_steps=4, seed=0, compute=Compute(precision=p)).step(**batch(0))
        for p in ("fp32", "bf16")
    ]
    for name, value in found[0].items():
        assert found[1][name].dtype in (torch.float32, torch.float64)
        assert found[1][name].item() == pytest.approx(value.item(), rel=0.05, abs=0.05), name


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("size", [1, 2])
def test_channels_last_changes_no_gradient_beyond_rounding(config, batch, method, size) -> None:
    """In float64, after three updates."""
    made = config(method, generator_norm="instance", discriminator_norm="instance", lr=1e-2, dropout=False)
    found = [build(made, total_steps=4, seed=0, compute=Compute(channels_last=c)) for c in (False, True)]
    for translator in found:
        for network in translator.networks.values():
            network.double()
    last = list(found[1].networks.values())[-1]  # a discriminator where there is one
    assert next(last.parameters()).is_contiguous(memory_format=torch.channels_last)
    for step in range(3):
        losses = [translator.step(**batch(step, size=size)) for translator in found]
        for name, value in losses[0].items():
            assert losses[1][name].item() == pytest.approx(value.item(), rel=1e-6), name
    for name, network in found[0].networks.items():
        for a, b in zip(network.parameters(), found[1].networks[name].parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", sorted(name for name, row in METHODS.items() if row.knobs.many))
def test_methods_of_many_domains_refuse_parts_of_a_batch(config, method) -> None:
    with pytest.raises(ConfigError, match=f"accumulate is 2: {method} takes its batch at once"):
        build(config(method, accumulate=2), total_steps=4, seed=0)


@pytest.mark.parametrize("method", sorted(name for name, row in METHODS.items() if not row.knobs.many))
@pytest.mark.parametrize("knobs", [{"accumulate": 4}, {"accumulate": 2, "recompute": True}])
def test_parts_and_recomputing_change_no_gradient(config, batch, method, knobs) -> None:
    """Three float64 steps on batches of 4 end in the same weights as whole batches, all activations kept."""
    extra = {"lambda_identity": 1.0} if method in ("cyclegan", "cut") else {}
    plain = {"generator_norm": "instance", "discriminator_norm": "instance", "dropout": False, "pool_size": 3}
    plain |= {"lr": 1e-2, "lambda_edge": 1.0, "lambda_luminance": 1.0, **extra}
    found = [build(config(method, **plain, **more), total_steps=4, seed=0) for more in ({}, knobs)]
    for translator in found:
        for network in translator.networks.values():
            network.double()
    for step in range(3):
        losses = [translator.step(**batch(step, size=4)) for translator in found]
        assert list(losses[0]) == list(losses[1])
        for name, value in losses[0].items():
            assert losses[1][name].item() == pytest.approx(value.item(), rel=1e-6), name
    for name, network in found[0].networks.items():
        for a, b in zip(network.parameters(), found[1].networks[name].parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_history_counts_once_whatever_the_parts(gan, batch) -> None:
    found = [
        gan(
            "pix2pix",
            lambda_history=1e3,
            lr=1e-2,
            accumulate=n,
            dropout=False,
            generator_norm="instance",
            discriminator_norm="instance",
        )
        for n in (1, 2)
    ]
    for step in range(3):
        one, two = (translator.step(**batch(step)) for translator in found)
    penalty = one["g"] - one["g_gan"] - 100 * one["g_l1"]
    assert penalty.item() > 0.1
    for name in one:
        assert two[name].item() == pytest.approx(one[name].item(), rel=1e-2), name


def test_a_batch_that_does_not_divide_into_the_parts_is_one_line(gan, batch) -> None:
    with pytest.raises(ConfigError, match=r"translator.accumulate is 2: a batch of 3 .* to a multiple of 2"):
        gan("cyclegan", accumulate=2).step(**batch(0, size=3))


def test_the_discriminators_have_a_learning_rate_of_their_own(gan, batch) -> None:
    translator = gan(
        "cyclegan", lr=1e-4, discriminator_lr=4e-4, lr_schedule="linear", lr_decay_start=0.5, total_steps=4
    )
    for step in range(4):
        translator.step(**batch(step, size=1))
    rates = {player: optimizer.param_groups[0]["lr"] for player, optimizer in translator.optimizers.items()}
    assert rates == pytest.approx(
        {"generator": 0.5e-4, "discriminator": 2e-4}
    )  # both fall in the second half
    assert gan("cyclegan", lr=3e-4).optimizers["discriminator"].param_groups[0]["lr"] == 3e-4


def test_translate_takes_any_size_and_gives_the_mode_back(gan) -> None:
    translator = gan("pix2pix", unet_depth=4, dropout=True)
    assert translator.stride == 16
    day = torch.rand(3, 3, 37, 50) * 2 - 1
    assert translator.translate(day).shape == day.shape
    assert torch.equal(translator.translate(day), translator.translate(day))
    assert translator.networks["generator"].training


def test_checkpoint_of_another_architecture_names_the_keys(gan) -> None:
    with pytest.raises(CheckpointError, match=r"blocks\.1\.conv1\.weight missing"):
        gan("cyclegan", generator_blocks=2).load_state(gan("cyclegan").state())
    with pytest.raises(CheckpointError, match=r"\(4, 3, 7, 7\) instead of \(8, 3, 7, 7\)"):
        gan("cyclegan", generator_channels=8).load_state(gan("cyclegan").state())
    with pytest.raises(CheckpointError, match="of method 'pix2pix', this run is 'cyclegan'"):
        gan("cyclegan").load_state(gan("pix2pix").state())
    with pytest.raises(CheckpointError, match="no moving average"):
        gan("cyclegan", ema_decay=0.9).load_state(gan("cyclegan").state())


def test_a_refused_state_changes_nothing(gan) -> None:
    translator, other = gan("cyclegan", seed=1), gan("cyclegan", generator_blocks=2, seed=2)
    before = translator.state()
    with pytest.raises(CheckpointError):
        translator.load_state(other.state())
    assert same(before, translator.state())


def test_unknown_method_is_named(config) -> None:
    import dataclasses

    wrong = dataclasses.replace(config("cut"), method="discogan")
    with pytest.raises(ConfigError, match="'discogan', expected one of pix2pix, cyclegan, cut, hedngan"):
        build(wrong, total_steps=1, seed=0)
