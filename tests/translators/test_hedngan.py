"""HED-N-GAN's steps against the same steps written out plainly, in float64; its student resumes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from d2n.backbones import hed
from d2n.config import translator_config
from d2n.errors import CheckpointError, WeightsError
from d2n.translators import METHODS, losses


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HED of random weights, larger than torch's own so that all of its outputs matter."""
    torch.manual_seed(0)
    network = hed.HED()
    for name, parameter in network.named_parameters():
        if name.endswith("weight") and name.startswith("block"):
            torch.nn.init.kaiming_normal_(parameter)
    with torch.no_grad():
        for number in range(1, 6):  # features have the size of grey levels
            getattr(network, f"side{number}").weight.mul_(0.02)
    path = tmp_path_factory.mktemp("hed") / "hed.safetensors"
    save_file(network.state_dict(), path)
    return path


def test_three_steps_equal_the_hand_derived_ones(gan, batch, hand_adam, hand_gan_loss, weights) -> None:
    """With a student under least squares, as published; without one under the other losses."""
    kind, (on_real, on_fake, on_generator) = hand_gan_loss
    lambda_student = 0.7 if kind == "least_squares" else 0.0
    translator = gan(
        "hedngan",
        total_steps=3,
        edges="hed",
        hed_weights=str(weights),
        lambda_student=lambda_student,
        student_lr=1e-4,
        student_weight_decay=0.0,
        discriminator_lr=2e-2,
        gan_loss=kind,
        lr=1e-2,
        lr_schedule="linear",
        lr_decay_start=0.0,
        pool_size=0,
    )
    for network in (*translator.networks.values(), translator.teacher):
        network.double()
    g, d = (copy.deepcopy(translator.networks[name]) for name in ("generator", "discriminator"))
    teacher = copy.deepcopy(translator.teacher)
    student = copy.deepcopy(translator.networks["student"]) if lambda_student else teacher
    g_adam, d_adam = hand_adam(g.parameters(), 1e-2, 0.9, 0.999), hand_adam(d.parameters(), 2e-2, 0.9, 0.999)
    n_adam = hand_adam(student.parameters(), 1e-4, 0.9, 0.999) if lambda_student else None
    for step, factor in enumerate((1, 2 / 3, 1 / 3)):
        day, night = (batch(step, size=1)[name].double() for name in ("day", "night"))
        fake = g(day)
        judged = 0.5 * (on_real(d(night)) + on_fake(d(fake.detach())))
        d_adam.minimise(judged, factor)
        expected = {"d": judged}
        if n_adam is not None:
            on_day = (student(day) - teacher(day)).abs().mean()
            on_night = (student(fake.detach()) - teacher(day)).abs().mean()
            n_adam.minimise(lambda_student * (on_day + on_night), factor)
            expected |= {"student_day": on_day, "student_night": on_night}
        gap = 1 / (1 + torch.exp(-student(fake))) - 1 / (1 + torch.exp(-teacher(day)))
        g_gan, g_edge = on_generator(d(fake)), gap.abs().mean()
        g_adam.minimise(g_gan + 5 * g_edge, factor)
        found = translator.step(day, night)
        expected |= {"g": g_gan + 5 * g_edge, "g_gan": g_gan, "g_edge": g_edge}
        for name, value in expected.items():
            assert found[name].item() == pytest.approx(value.item(), rel=1e-6, abs=1e-12), (name, step)
    pairs = [("generator", g), ("discriminator", d)] + ([("student", student)] if lambda_student else [])
    for name, plain in pairs:
        for a, b in zip(translator.networks[name].parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    for a, b in zip(translator.teacher.parameters(), teacher.parameters(), strict=True):
        assert torch.equal(a, b)  # the teacher is fixed


def test_the_student_has_an_adam_of_its_own_with_the_published_settings(gan, weights) -> None:
    translator = gan("hedngan", edges="hed", hed_weights=str(weights))
    (group,) = translator.optimizers["student"].param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-6, (0.9, 0.999), 2e-4)
    assert sum(p.numel() for p in group["params"]) == 14_716_171
    assert list(gan("hedngan").optimizers) == ["generator", "discriminator"]
    assert list(gan("hedngan", edges="hed", hed_weights=str(weights), lambda_student=0).networks) == [
        "generator",
        "discriminator",
    ]


def test_a_resumed_student_ends_as_one_never_interrupted_to_the_bit(gan, batch, weights) -> None:
    knobs = {"edges": "hed", "hed_weights": str(weights), "student_lr": 1e-4, "lr": 1e-2, "pool_size": 2}
    whole = gan("hedngan", **knobs)
    for step in range(2):
        whole.step(**batch(step))
    resumed = gan("hedngan", **knobs)
    resumed.load_state(whole.state())
    for translator in (whole, resumed):
        translator.step(**batch(2))
    for name, network in whole.networks.items():
        for a, b in zip(network.parameters(), resumed.networks[name].parameters(), strict=True):
            assert torch.equal(a, b), name
    teacher, student = whole.teacher.state_dict(), whole.networks["student"].state_dict()
    assert not torch.equal(teacher["side1.weight"], student["side1.weight"])


def test_another_teacher_is_refused(gan, weights, tmp_path) -> None:
    state = gan("hedngan", edges="hed", hed_weights=str(weights), lambda_student=0).state()
    torch.manual_seed(1)
    save_file(hed.HED().state_dict(), tmp_path / "other.safetensors")
    other = gan("hedngan", edges="hed", hed_weights=str(tmp_path / "other.safetensors"), lambda_student=0)
    with pytest.raises(CheckpointError, match=r"trained with other weights of HED \(translator\.edges"):
        other.load_state(state)
    with pytest.raises(CheckpointError, match=r"trained with other weights of HED"):
        gan("hedngan").load_state(state)


def test_sobel_is_the_cheap_choice(gan, batch) -> None:
    translator = gan("hedngan", lr=1e-9)
    data = batch(0)
    found = translator.step(**data)
    with torch.no_grad():
        fake = translator.translate(data["day"])
    assert found["g_edge"].item() == pytest.approx(
        losses.edge_consistency(data["day"], fake).item(), rel=1e-3
    )


def test_edges_come_nearer_in_training(gan, batch) -> None:
    translator = gan("hedngan", lr=2e-3, total_steps=60, lambda_edge=50.0)
    data = batch(0)
    found = [translator.step(**data)["g_edge"].item() for _ in range(60)]
    assert found[-1] < 0.7 * found[0]


def test_absent_weights_are_one_line_before_training(tmp_path) -> None:
    check = METHODS["hedngan"].check
    absent = translator_config("hedngan", "published", hed_weights=str(tmp_path / "absent.pth"))
    said = r"translator.hed_weights: .*absent.pth: no such file; translator.edges=sobel needs none"
    with pytest.raises(WeightsError, match=said):
        check(absent)
    check(translator_config("hedngan", "toy"))
