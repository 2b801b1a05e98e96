"""StarGAN: published sizes, losses by hand and by finite differences, folding, resumption."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from d2n.errors import ShapeError
from d2n.translators import build
from d2n.translators.conditioned import ClassifyingDiscriminator, ConditionedGenerator
from d2n.translators.stargan import gradient_penalty

THREE = ("day", "night", "dusk")
SMALL = {"discriminator_layers": 2, "class_kernel": 2}


def _batch(step: int, side: int = 16) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(step)
    return {name: torch.rand(2, 3, side, side, generator=random) * 2 - 1 for name in THREE}


def _gan(config, **knobs):
    made = config("stargan", **{**SMALL, "n_critic": 2, **knobs})
    return build(made, total_steps=8, seed=3, domains=THREE)


def _size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_sizes_are_the_published_ones() -> None:
    """The public code's generator and discriminator for 5 domains and 128 px."""
    with torch.device("meta"):
        assert _size(ConditionedGenerator(5)) == 8_430_528
        assert _size(ClassifyingDiscriminator(5)) == 44_762_048


def test_shapes() -> None:
    judge = ClassifyingDiscriminator(3, 4, 2, 4)
    critics, classes = judge(torch.zeros(2, 3, 16, 24))
    assert (critics.shape, classes.shape) == ((2, 1, 4, 6), (2, 3))
    with pytest.raises(ShapeError, match="image of 8 x 8 pixels, expected at least 16 a side"):
        judge(torch.zeros(2, 3, 8, 8))
    with pytest.raises(ShapeError, match="expected sides divisible by 4"):
        ConditionedGenerator(1, 4, 1)(torch.zeros(1, 3, 10, 12))


def test_four_steps_equal_the_hand_derived_ones(config, hand_adam) -> None:
    """The first and third move the discriminator alone, the second and fourth both."""
    translator = _gan(config)
    for network in translator.networks.values():
        network.double()
    nets, c = copy.deepcopy(translator.networks), translator.config
    generator, judge = nets["generator"], nets["discriminator"]
    adams = {name: hand_adam(nets[name].parameters(), c.lr, c.beta1, c.beta2) for name in nets}
    for step in range(4):
        images = {name: x.double() for name, x in _batch(step).items()}
        x, own = torch.cat(list(images.values())), torch.tensor([0, 0, 1, 1, 2, 2])
        shift = translator._drawn("targets", images, partial(torch.randint, 1, 3))
        share = translator._drawn("penalty", images, partial(torch.rand, dtype=torch.float64)).view(
            6, 1, 1, 1
        )
        target = (own + shift) % 3
        assert not (own == target).any()
        found = translator.step(images)
        told = torch.eye(3, dtype=torch.float64)
        fake = generator(x, told[target]).detach()
        real_critic, real_class = judge(x)
        fake_critic, _ = judge(fake)
        z = (share * x + (1 - share) * fake).requires_grad_(True)
        (gradient,) = torch.autograd.grad(judge(z)[0].sum(), z, create_graph=True)
        penalty = ((gradient.square().sum(dim=(1, 2, 3)).sqrt() - 1) ** 2).mean()
        likelihood = torch.softmax(real_class, 1)[torch.arange(6), own]
        d = fake_critic.mean() - real_critic.mean() + 10 * penalty - likelihood.log().mean()
        adams["discriminator"].minimise(d)
        assert found["d"].item() == pytest.approx(d.item(), rel=1e-9)
        assert ("g" in found) == (step % 2 == 1)
        if step % 2 == 1:
            fake = generator(x, told[target])
            critic, named = judge(fake)
            cycle = (generator(fake, told[own]) - x).abs().mean()
            g = -critic.mean() - torch.softmax(named, 1)[torch.arange(6), target].log().mean() + 10 * cycle
            adams["generator"].minimise(g)
            assert found["g"].item() == pytest.approx(g.item(), rel=1e-9)
    for name, network in translator.networks.items():
        for mine, by_hand in zip(network.parameters(), nets[name].parameters(), strict=True):
            torch.testing.assert_close(mine, by_hand, rtol=1e-7, atol=1e-10)


class Smooth(torch.nn.Module):
    """A critic without kinks, so that finite differences are exact enough."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 2, 3).double()
        self.classes = torch.nn.Linear(2, 3).double()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.tanh(self.conv(x))
        return hidden.square().sum(dim=1, keepdim=True), self.classes(hidden.mean(dim=(2, 3)))


@pytest.fixture
def critic() -> Smooth:
    torch.manual_seed(0)
    return Smooth()


def _images(seed: int) -> torch.Tensor:
    return torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_penalty_is_that_of_finite_differences(critic: Smooth) -> None:
    real, fake, share = _images(1), _images(2), torch.full((2, 1, 1, 1), 0.3, dtype=torch.float64)
    z, step = share * real + (1 - share) * fake, 1e-5
    gradient = torch.zeros_like(z)
    for i in range(z.numel()):
        nudge = torch.zeros_like(z).flatten()
        nudge[i] = step
        above, below = (critic(z + s * nudge.view_as(z))[0].sum() for s in (1, -1))
        gradient.view(-1)[i] = (above - below).item() / (2 * step)
    expected = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
    torch.testing.assert_close(gradient_penalty(critic, real, fake, share), expected, rtol=1e-7, atol=0)


def test_gradients_of_penalty_and_classification_are_those_of_finite_differences(critic: Smooth) -> None:
    real, fake, share = _images(1), _images(2), torch.full((2, 1, 1, 1), 0.3, dtype=torch.float64)
    own = torch.tensor([2, 0])

    def loss() -> torch.Tensor:
        return gradient_penalty(critic, real, fake, share) + F.cross_entropy(critic(real)[1], own)

    weights = [critic.conv.weight, critic.classes.weight]
    for weight, gradient in zip(weights, torch.autograd.grad(loss(), weights), strict=True):
        for i in (0, 1, weight.numel() - 1):
            flat, step = weight.data.view(-1), 1e-5
            flat[i] += step
            above = loss().item()
            flat[i] -= 2 * step
            below = loss().item()
            flat[i] += step
            assert gradient.flatten()[i].item() == pytest.approx((above - below) / (2 * step), rel=1e-5)


def test_folded_it_makes_one_domain_of_images_alone(config) -> None:
    translator = _gan(config)
    generator, x = translator.networks["generator"], torch.rand(2, 3, 16, 20) * 2 - 1
    for domain, name in enumerate(THREE):
        condition = F.one_hot(torch.tensor([domain, domain]), 3)
        torch.testing.assert_close(translator.folded(name)(x), generator(x, condition), rtol=1e-4, atol=1e-5)
    assert torch.equal(translator.between(x, "day", "night"), translator.translate(x))
    assert len(translator.grid(_batch(0))) == 9


def test_resumed_it_ends_with_the_same_weights(config) -> None:
    whole, first, resumed = (_gan(config, ema_decay=0.9) for _ in range(3))
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
    assert whole.epoch_losses.mean_and_reset() == resumed.epoch_losses.mean_and_reset()


def test_means_are_over_the_steps_that_have_a_loss(config) -> None:
    translator = _gan(config)
    found = [translator.step(_batch(step)) for step in range(4)]
    means = translator.epoch_losses.mean_and_reset()
    assert means["g"] == pytest.approx((found[1]["g"].item() + found[3]["g"].item()) / 2)
    assert means["d"] == pytest.approx(sum(one["d"].item() for one in found) / 4)
