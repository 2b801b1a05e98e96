"""ToDayGAN: its steps against the paper's equations written out, its accuracy, its way back, its resumption."""

from __future__ import annotations

import copy

import pytest
import torch

from d2n.core import Compute
from d2n.translators import build, losses

BETTER = {  # the loss of one that shall be judged more real, by how much more it is
    "vanilla": lambda more: -torch.log(1 / (1 + torch.exp(-more))),
    "least_squares": lambda more: (more - 1) ** 2,
    "hinge": lambda more: torch.clamp(1 - more, min=0),
}
DEPTHS = {"colour": [1 / 8, 3 / 8], "luminance": [1 / 8, 3 / 8], "gradient": [1.0]}  # 2, 2 and 1 that judge


def _batch(step: int, side: int = 16) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(step)
    return {name: torch.rand(2, 3, side, side, generator=random) * 2 - 1 for name in ("day", "night")}


def _gan(config, **knobs):
    made = config("todaygan", **{"pool_size": 0, "generator_blocks": 2, "discriminator_layers": 2, **knobs})
    return build(made, total_steps=8, seed=3)


@pytest.mark.parametrize("kind", BETTER)
def test_three_steps_equal_the_hand_derived_ones(config, hand_adam, kind) -> None:
    translator = _gan(config, gan_loss=kind)
    for network in translator.networks.values():
        network.double()
    nets, c = copy.deepcopy(translator.networks), translator.config
    players = {
        "g": [f"{half}_{domain}" for domain in ("day", "night") for half in ("encoder", "decoder")],
        "d": ["discriminator_day", "discriminator_night"],
    }
    adams = {
        player: hand_adam([p for n in names for p in nets[n].parameters()], c.lr, c.beta1, c.beta2)
        for player, names in players.items()
    }

    def compared(better, worse):
        each = [
            sum(s * BETTER[kind](b - w).mean() for s, b, w in zip(shares, better[v], worse[v], strict=True))
            for v, shares in DEPTHS.items()
        ]
        return sum(each) / 3

    for step in range(3):
        images = {name: x.double() for name, x in _batch(step).items()}
        found = translator.step(images)
        g, d = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for s, t in (("day", "night"), ("night", "day")):
            x, judge = images[s], nets[f"discriminator_{t}"]
            fake = nets[f"decoder_{t}"](nets[f"encoder_{s}"](x), x)
            back = nets[f"decoder_{s}"](nets[f"encoder_{t}"](fake), fake)
            on_real = {v: [one.detach() for one in at] for v, at in judge(images[t]).items()}
            g = g + compared(judge(fake), on_real) + 10 * (back - x).abs().mean()
            d = d + compared(judge(images[t]), judge(fake.detach())) / 2
        assert found["g"].item() == pytest.approx(g.item(), rel=1e-9)
        assert found["d"].item() == pytest.approx(d.item(), rel=1e-9)
        views = sum(found[f"d_{view}"] for view in DEPTHS)
        assert views.item() == pytest.approx(6 * d.item(), rel=1e-9)
        adams["g"].minimise(g)
        adams["d"].minimise(d)


@pytest.mark.parametrize("kind", BETTER)
def test_the_relativistic_loss_asks_for_a_difference_alone(kind) -> None:
    a, b = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 2.5])
    expected = BETTER[kind](torch.tensor([2.0, -1.5])).mean()
    assert losses.relativistic_loss(a, b, kind).item() == pytest.approx(expected.item())
    assert losses.relativistic_loss(a + 7, b + 7, kind).item() == pytest.approx(expected.item())


def test_accuracy_is_how_often_a_real_image_is_judged_more_real(config) -> None:
    translator = _gan(config)
    for part in translator.networks["discriminator_night"].modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.zeros_(part.weight)
    judged = translator._judge_domain("night", _batch(0)["night"], _batch(1)["night"])
    assert judged["d_accuracy"] == 0  # equal is not more
    found = translator.step(_batch(0))
    assert 0 <= found["d_accuracy"] <= 1


def test_resumed_it_ends_with_the_same_weights(config) -> None:
    whole, first, resumed = (_gan(config, pool_size=2, ema_decay=0.9) for _ in range(3))
    for step in range(6):
        whole.step(_batch(step))
    for step in range(3):
        first.step(_batch(step))
    resumed.load_state(first.state())
    for step in range(3, 6):
        resumed.step(_batch(step))
    for name, network in whole.networks.items():
        other = resumed.networks[name].state_dict()
        assert all(torch.equal(value, other[key]) for key, value in network.state_dict().items())


def test_night_becomes_day_by_the_night_s_encoder_and_the_day_s_decoder(config) -> None:
    translator, night = _gan(config), _batch(0)["night"]
    encoder, decoder = translator.networks["encoder_night"], translator.networks["decoder_day"]
    with torch.no_grad():
        expected = decoder(encoder(night), night)
    assert torch.allclose(translator.between(night, "night", "day"), expected, atol=1e-6)


def test_it_learns_in_bf16_among_three_domains(config) -> None:
    made = config("todaygan", generator="resnet_prelu", discriminator_layers=2, spectral_norm=True)
    translator = build(
        made, total_steps=4, seed=0, compute=Compute(precision="bf16"), domains=("day", "night", "dusk")
    )
    batch = {**_batch(0), "dusk": _batch(1)["day"]}
    for _ in range(2):
        assert all(torch.isfinite(value) for value in translator.step(batch).values())
