"""Spectral normalisation against singular values, torch's own form, and under bf16."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from d2n.translators.networks import PatchDiscriminator
from d2n.translators.spectral import add_spectral_norm


def discriminator(seed: int = 0) -> nn.Module:
    random = torch.Generator().manual_seed(seed)
    made = PatchDiscriminator(3, 4, 1, "instance", init_gain=0.5, generator=random).double()
    add_spectral_norm(made, random)
    return made


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def test_every_weight_has_a_largest_singular_value_of_one() -> None:
    made = discriminator()
    for _ in range(100):
        made(torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    found = [torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() for conv in convolutions(made.eval())]
    assert found == pytest.approx([1.0] * len(found), rel=1e-6)
    assert len(found) == 3


def test_a_pass_in_training_is_one_iteration_and_one_at_rest_is_none() -> None:
    made = discriminator()
    norm = convolutions(made)[1].parametrizations.weight[0]
    before, matrix = (
        norm.u.clone(),
        convolutions(made)[1].parametrizations.weight.original.flatten(1).detach(),
    )
    made.eval()(torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    assert torch.equal(norm.u, before)
    made.train()(torch.zeros(1, 3, 16, 16, dtype=torch.float64))
    v = matrix.T @ before
    u = matrix @ (v / v.norm())
    torch.testing.assert_close(norm.u, u / u.norm())


def test_the_gradient_is_the_paper_s() -> None:
    """Equation 12: (dV - lambda u v^T) / sigma with lambda the inner product of dV with the divided weight."""
    conv = nn.Conv2d(2, 3, 2, bias=False).double()
    add_spectral_norm(conv)
    norm, weight = conv.parametrizations.weight[0], conv.parametrizations.weight.original
    conv.eval()
    upstream = torch.rand_like(weight)
    (upstream * conv.weight).sum().backward()
    matrix = weight.detach().flatten(1)
    v = matrix.T @ norm.u
    v = v / v.norm()
    sigma = norm.u @ matrix @ v
    inner = (upstream.flatten(1) * matrix / sigma).sum()
    expected = (upstream.flatten(1) - inner * torch.outer(norm.u, v)) / sigma
    torch.testing.assert_close(weight.grad.flatten(1), expected)


def test_two_passes_before_one_backward_as_in_a_discriminators_step() -> None:
    made = discriminator()
    x = torch.rand(2, 1, 3, 16, 16, dtype=torch.float64)
    (made(x[0]).mean() - made(x[1]).mean()).backward()
    assert all(torch.isfinite(p.grad).all() for p in made.parameters() if p.grad is not None)


def test_it_is_computed_in_float32_under_autocast() -> None:
    made = discriminator().float()
    for _ in range(30):
        made(torch.zeros(1, 3, 16, 16))
    plain, cast = copy.deepcopy(made), made
    with torch.autocast("cpu", torch.bfloat16):
        cast(torch.zeros(1, 3, 16, 16))
    plain(torch.zeros(1, 3, 16, 16))
    for a, b in zip(convolutions(plain), convolutions(cast), strict=True):
        assert torch.equal(a.parametrizations.weight[0].u, b.parametrizations.weight[0].u)


def test_the_seed_decides_the_first_vectors_and_the_global_stream_stays(gan) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    a, b = (gan("cyclegan", spectral_norm=True).networks["discriminator_night"] for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    key = "model.0.parametrizations.weight.0.u"
    assert torch.equal(a.state_dict()[key], b.state_dict()[key])


def test_a_wild_discriminator_is_tamed(gan, batch) -> None:
    """After the same steps at a high learning rate its logits are far smaller."""
    found = []
    for on in (False, True):
        translator = gan(
            "cyclegan", spectral_norm=on, discriminator_lr=0.1, init_gain=1.0, discriminator_norm="none"
        )
        for step in range(4):
            translator.step(**batch(step))
        found.append(translator.networks["discriminator_night"](batch(9)["night"]).abs().mean().item())
    assert found[1] < found[0] / 10
