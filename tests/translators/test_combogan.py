"""ComboGAN: its steps against CycleGAN's equations written out, its halves, its directions, its resumption."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from d2n.config import translator_config
from d2n.core import Compute
from d2n.errors import CheckpointError, ShapeError
from d2n.translators import build
from d2n.translators.halves import halves, joined
from d2n.translators.networks import ResNetGenerator

THREE = ("day", "night", "dusk")


def _batch(step: int, side: int = 16) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(step)
    return {name: torch.rand(2, 3, side, side, generator=random) * 2 - 1 for name in THREE}


def _gan(config, domains=THREE, **knobs):
    made = config("combogan", pool_size=0, generator_blocks=2, **knobs)
    return build(made, total_steps=8, seed=3, domains=domains)


def test_halves_are_the_published_generator() -> None:
    """9 blocks, 4 of them encode: 11,378,179 parameters in both, as CycleGAN's generator has."""
    encoder, decoder = halves(translator_config("combogan", "published"))
    assert (len(encoder.blocks), len(decoder.blocks)) == (4, 5)
    assert sum(p.numel() for half in (encoder, decoder) for p in half.parameters()) == 11_378_179


def test_joined_halves_compute_what_the_halves_do(config) -> None:
    made = config("combogan", generator_blocks=3, late_input=True)
    (encoder, _), (_, decoder) = halves(made), halves(made)
    whole = joined(made, encoder, decoder)
    x = torch.rand(1, 3, 17, 22) * 2 - 1
    assert torch.equal(whole(x), decoder(encoder(x), x))
    assert whole.state_dict().keys() == ResNetGenerator(3, 4, late_input=True).state_dict().keys()
    assert not any(p.is_meta for p in whole.parameters())


def test_three_steps_equal_the_hand_derived_ones(config, hand_adam) -> None:
    weights = {"lambda_identity": 2.0, "lambda_latent": 0.5, "lambda_forward": 3.0}
    translator = _gan(config, gan_loss="least_squares", **weights)
    for network in translator.networks.values():
        network.double()
    nets = copy.deepcopy(translator.networks)
    c = translator.config

    def of(kind: str):
        names = [name for name in nets if name.startswith(kind)]
        return {n: hand_adam(nets[n].parameters(), c.lr, c.beta1, c.beta2) for n in names}

    adams = of("encoder") | of("decoder") | of("discriminator")
    for step in range(3):
        images = {name: x.double() for name, x in _batch(step).items()}
        a, b = translator.drawn(step)
        found = translator.step(images)
        g, fakes = torch.zeros((), dtype=torch.float64), {}
        for s, t in ((a, b), (b, a)):
            x = images[s]
            code = nets[f"encoder_{s}"](x)
            fake = fakes[t] = nets[f"decoder_{t}"](code, x)
            again = nets[f"encoder_{t}"](fake)
            g = g + ((nets[f"discriminator_{t}"](fake) - 1) ** 2).mean()
            g = g + 10 * (nets[f"decoder_{s}"](again, fake) - x).abs().mean()
            g = g + 2 * (nets[f"decoder_{s}"](code, x) - x).abs().mean()
            g = g + 0.5 * (again - code.detach()).abs().mean()
            g = g + 3 * (F.avg_pool2d(fake, 3, 2) - F.avg_pool2d(x, 3, 2)).abs().mean()
        moving = [f"{half}_{d}" for d in (a, b) for half in ("encoder", "decoder")]
        gradients = torch.autograd.grad(g, [p for n in moving for p in nets[n].parameters()])
        d = sum(
            ((nets[f"discriminator_{t}"](images[t]) - 1) ** 2).mean() / 2
            + (nets[f"discriminator_{t}"](fakes[t].detach()) ** 2).mean() / 2
            for t in (a, b)
        )
        assert found["g"].item() == pytest.approx(g.item(), rel=1e-9)
        _minimise(adams, nets, moving, gradients)
        judges = [f"discriminator_{t}" for t in (a, b)]
        gradients = torch.autograd.grad(d, [p for n in judges for p in nets[n].parameters()])
        _minimise(adams, nets, judges, gradients)
        assert found["d"].item() == pytest.approx(d.item(), rel=1e-9)


def _minimise(adams, nets, names, gradients) -> None:
    """One Adam step of some networks alone; the others, and their step counts, stand still."""
    gradients = iter(gradients)
    for name in names:
        own = [next(gradients) for _ in nets[name].parameters()]
        loss = sum((p * g).sum() for p, g in zip(nets[name].parameters(), own, strict=True))
        adams[name].minimise(loss)


def test_every_pair_of_domains_is_drawn(config) -> None:
    translator = _gan(config)
    pairs = {frozenset(translator.drawn(step)) for step in range(40)}
    assert pairs == {frozenset(p) for p in (("day", "night"), ("day", "dusk"), ("night", "dusk"))}


def test_networks_of_a_domain_that_is_not_drawn_stand_still(config) -> None:
    translator = _gan(config)
    (out,) = set(THREE) - set(translator.drawn(0))
    before = copy.deepcopy(translator.networks)
    translator.step(_batch(0))
    for name, network in translator.networks.items():
        pairs = zip(network.parameters(), before[name].parameters(), strict=True)
        assert all(torch.equal(x, y) for x, y in pairs) == name.endswith(f"_{out}")


def test_resumed_it_ends_with_the_same_weights(config) -> None:
    whole, first, resumed = (_gan(config, ema_decay=0.9, lambda_history=0.1) for _ in range(3))
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
    probe = _batch(9)["day"]
    assert torch.equal(whole.translate(probe), resumed.translate(probe))


def test_the_grid_shows_all_directions(config) -> None:
    translator = _gan(config)
    rows = translator.grid(_batch(0))
    assert len(rows) == 9
    assert torch.equal(rows["day to night"], translator.translate(_batch(0)["day"]))
    assert not torch.equal(rows["dusk to night"], rows["dusk to day"])
    assert translator.networks["encoder_day"].training  # given back


def test_more_domains_than_the_checkpoint_has_is_one_line(config) -> None:
    state = _gan(config, domains=("day", "night")).state()
    with pytest.raises(CheckpointError, match=r"of the domains day, night, this run of .*: it has no dusk"):
        _gan(config).load_state(state)


def test_a_batch_of_other_domains_is_one_line(config) -> None:
    with pytest.raises(ShapeError, match="a step on day, night, expected day, night, dusk"):
        _gan(config).step(_batch(0)["day"], _batch(0)["night"])


def test_it_learns_in_bf16_and_channels_last(config) -> None:
    made = config("combogan", generator_blocks=2)
    translator = build(
        made, total_steps=4, seed=0, compute=Compute(precision="bf16", channels_last=True), domains=THREE
    )
    assert all(torch.isfinite(value) for value in translator.step(_batch(0)).values())


def test_the_way_back_goes_from_the_second_domain_to_the_first(config) -> None:
    translator, night = _gan(config), _batch(0)["night"]
    with torch.no_grad():
        assert torch.equal(translator.way_back()(night), translator.whole("night", "day")(night))
