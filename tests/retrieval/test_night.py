import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from d2n.config import NightConfig
from d2n.errors import ConfigError, RetrievalError
from d2n.retrieval import night
from d2n.retrieval.night import NightAugmentation, chosen_by_hash, pad_to_multiple, unpad


def numbered(height: int, width: int) -> Tensor:
    return torch.arange(float(height * width)).view(1, 1, height, width)


def invert(x: Tensor) -> Tensor:
    return -x


def test_padding_is_centred_and_odd_pixels_go_right_and_bottom() -> None:
    padded, pads = pad_to_multiple(numbered(3, 5), 4)
    assert pads == (1, 2, 0, 1)
    assert padded.shape == (1, 1, 4, 8)
    assert padded[0, 0, 0].tolist() == [1, 0, 1, 2, 3, 4, 3, 2]  # reflected without the border itself
    assert padded[0, 0, 3].tolist() == [6, 5, 6, 7, 8, 9, 8, 7]


@pytest.mark.parametrize(
    ("side", "pads"), [(362, (75, 75, 75, 75)), (256, (0, 0, 0, 0)), (86, (85, 85, 85, 85))]
)
def test_the_published_sizes(side: int, pads: tuple[int, ...], caplog: pytest.LogCaptureFixture) -> None:
    padded, found = pad_to_multiple(torch.rand(1, 3, side, side), 256)
    assert found == pads
    assert padded.shape[-1] % 256 == 0
    assert not caplog.records


def test_a_side_too_small_to_reflect_replicates_both_axes_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    image = torch.rand(1, 3, 200, 85)
    with caplog.at_level(logging.WARNING):
        padded, pads = pad_to_multiple(image, 256)
    assert pads == (85, 86, 28, 28)
    assert torch.equal(padded[..., 0, 85:170], image[..., 0, :])  # reflection would have shown row 28
    assert "85 x 200 px" in caplog.text
    assert torch.equal(unpad(padded, pads), image)


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (64, 64), (65, 130)])
def test_unpad_undoes_padding(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    padded, pads = pad_to_multiple(image, 32)
    assert padded.shape[-2] % 32 == 0
    assert padded.shape[-1] % 32 == 0
    assert torch.equal(unpad(padded, pads), image)


def test_padding_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 0"):
        pad_to_multiple(numbered(2, 2), 0)


def test_probability_one_translates_all_through_the_generators_range() -> None:
    seen: list[Tensor] = []

    def translate(x: Tensor) -> Tensor:
        seen.append(x)
        return -x

    images = torch.rand(4, 3, 30, 34)
    out = NightAugmentation(translate, stride=4, probability=1.0)(images)
    assert torch.allclose(out, 1 - images, atol=1e-6)
    assert seen[0].shape == (4, 3, 32, 36)
    assert torch.allclose(seen[0][..., 1:31, 1:35], images * 2 - 1)


def test_probability_zero_returns_the_images_unchanged() -> None:
    images = torch.rand(4, 3, 8, 8)
    assert NightAugmentation(invert, probability=0.0)(images) is images


def test_only_the_chosen_images_change() -> None:
    images = torch.rand(400, 3, 2, 2)
    before = images.clone()
    out = NightAugmentation(invert, probability=0.15, seed=3)(images)
    changed = (out != images).flatten(1).any(dim=1)
    assert 30 <= int(changed.sum()) <= 92  # 60 expected, standard deviation 7
    assert torch.allclose(out[changed], 1 - images[changed], atol=1e-6)
    assert torch.equal(images, before)


def test_a_tuple_has_one_translation_on_average_and_a_third_have_none() -> None:
    augment = NightAugmentation(invert, probability=0.15)
    generator = torch.Generator().manual_seed(0)
    counts = torch.stack([augment.choose(7, None, None, generator).sum() for _ in range(4000)])
    assert float(counts.float().mean()) == pytest.approx(1.05, abs=0.05)
    assert float((counts == 0).float().mean()) == pytest.approx(0.85**7, abs=0.03)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("all", [1, 1, 1, 1]),
        ("anchor", [1, 0, 0, 0]),
        ("positive", [0, 1, 0, 0]),
        ("negatives", [0, 0, 1, 1]),
    ],
)
def test_targets(targets: night.Targets, expected: list[int]) -> None:
    augment = NightAugmentation(invert, probability=1.0, targets=targets)
    images = torch.rand(4, 3, 4, 4)
    out = augment(images, labels=torch.tensor([-1, 1, 0, 0]))
    assert (out != images).flatten(1).any(dim=1).int().tolist() == expected


def test_targets_do_not_change_who_is_drawn() -> None:
    labels = torch.tensor([-1, 1, 0, 0, 0, 0, 0] * 20)
    kinds: tuple[night.Targets, ...] = ("all", "anchor", "positive", "negatives")
    drawn = [
        NightAugmentation(invert, targets=kind).choose(140, labels, None, torch.Generator().manual_seed(5))
        for kind in kinds
    ]
    assert torch.equal(drawn[0], drawn[1] | drawn[2] | drawn[3])


def test_the_oracle_gives_each_image_the_true_night_of_its_own_view() -> None:
    levels = {Path(f"/city/night/{i}.png"): 10 * i for i in range(6)}
    nights = {night.image_name(Path(f"/city/day/{i}.png")): path for i, path in enumerate(levels)}

    def load(path: Path) -> np.ndarray:
        return np.full((8, 6, 3), levels[path], np.uint8)

    names = [
        night.image_name(Path(f"/elsewhere/city/day/{i}.png")) for i in (5, 0, 3)
    ]  # wherever the city lies
    augment = night.build(NightConfig(augmentation="oracle", probability=1.0), nights=nights, load=load)
    assert augment is not None
    images = torch.ones(3, 3, 8, 6)
    assert (augment(images, names=names)[:, 0, 0, 0] * 255).tolist() == [50, 0, 30]
    anchors = night.build(
        NightConfig(augmentation="oracle", probability=1.0, targets="anchor"), nights=nights, load=load
    )
    assert anchors is not None
    out = anchors(images, torch.tensor([0, 1, -1]), [f"city/day/{i}.png" for i in (5, 0, 3)])
    assert (out[:, 0, 0, 0] * 255).tolist() == [255, 255, 30]
    with pytest.raises(RetrievalError, match=r"city/day/9.png: no true night of it is known \(1 of 3\)"):
        augment(images, names=["city/day/9.png", "city/day/0.png", "city/day/1.png"])
    with pytest.raises(RetrievalError, match="another shape"):
        augment(torch.ones(3, 3, 6, 8), names=[f"city/day/{i}.png" for i in (5, 0, 3)])
    with pytest.raises(ConfigError, match="no true nights were given"):
        night.build(NightConfig(augmentation="oracle"))


def test_hashed_choices_repeat_and_depend_on_the_seed() -> None:
    names = [f"image{i}" for i in range(3000)]
    augment = NightAugmentation(invert, probability=0.25, choice="hash", seed=1)
    images = torch.rand(3000, 3, 1, 1)
    first, again = augment(images, names=names), augment(images, names=names)
    assert torch.equal(first, again)
    assert sum(chosen_by_hash(names, 0.25, 1)) / 3000 == pytest.approx(0.25, abs=0.03)
    assert chosen_by_hash(names, 0.25, 1) != chosen_by_hash(names, 0.25, 2)
    assert all(chosen_by_hash(names, 1.0))
    assert not any(chosen_by_hash(names, 0.0))


def test_nights_of_hashed_choices_are_made_once_while_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def translate(x: Tensor) -> Tensor:
        seen.append(len(x))
        return -x

    names = [f"image{i}" for i in range(40)]
    images = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    augment = NightAugmentation(translate, probability=0.5, choice="hash")
    first = augment(images, names=names)
    count = sum(chosen_by_hash(names, 0.5))
    assert torch.equal(augment(images.flip(0), names=names[::-1]), first.flip(0))
    assert seen == [count]
    assert torch.allclose(first, torch.where((first != images), 1 - images, images), atol=1 / 255)
    other = augment(1 - images, names=names)  # another image of the same name has another night
    assert seen == [count, count]
    assert not torch.allclose(other, first, atol=0.1)
    monkeypatch.setattr(night, "_CACHE_BYTES", 3 * 48)
    small = NightAugmentation(translate, probability=0.5, choice="hash")
    assert torch.equal(small(images, names=names), first)
    assert torch.equal(small(images, names=names), first)
    assert seen[2:] == [count, count - 3]


def test_random_choices_repeat_with_the_seed_and_go_on_differently() -> None:
    images = torch.rand(200, 3, 1, 1)
    one, other = NightAugmentation(invert, seed=4), NightAugmentation(invert, seed=4)
    assert torch.equal(one(images), other(images))
    assert not torch.equal(one(images), NightAugmentation(invert, seed=4)(images))


def test_the_generator_is_frozen_in_eval_without_gradients() -> None:
    generator = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(0.5), nn.BatchNorm2d(3)).train()
    augment = NightAugmentation(generator, probability=1.0)
    out = augment(torch.rand(2, 3, 4, 4))
    assert not generator.training
    assert not out.requires_grad
    assert not any(p.requires_grad for p in generator.parameters())
    assert generator[2].num_batches_tracked == 0


def test_output_outside_the_range_is_clamped() -> None:
    out = NightAugmentation(lambda x: x * 10, probability=1.0)(torch.rand(3, 3, 4, 4))
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1


def test_small_images_are_reported_once_a_size(caplog: pytest.LogCaptureFixture) -> None:
    augment = NightAugmentation(invert, stride=256, probability=1.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert augment(torch.rand(1, 3, 40, 40)).shape == (1, 3, 40, 40)
    assert len(caplog.records) == 1


def test_a_translation_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="the translation made"):
        NightAugmentation(lambda x: x[..., 1:], probability=1.0)(torch.rand(1, 3, 8, 8))


def test_what_a_choice_needs_is_asked_for() -> None:
    with pytest.raises(ValueError, match="one name"):
        NightAugmentation(invert, choice="hash")(torch.rand(2, 3, 4, 4))
    with pytest.raises(ValueError, match="one label"):
        NightAugmentation(invert, targets="anchor")(torch.rand(2, 3, 4, 4))


@pytest.mark.parametrize(
    "knob",
    [{"probability": 1.5}, {"targets": "queries"}, {"choice": "name"}],
    ids=["probability", "targets", "choice"],
)
def test_wrong_knobs_are_refused(knob: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"night.{next(iter(knob))}"):
        NightAugmentation(invert, **knob)  # type: ignore[arg-type]  # on purpose


def test_build_follows_the_knobs() -> None:
    assert night.build(NightConfig()) is None
    images = torch.rand(3, 3, 16, 16)
    for kind in ("photometric", "clahe"):
        augment = night.build(NightConfig(augmentation=kind, probability=1.0))  # type: ignore[arg-type]  # a literal
        assert augment is not None
        out = augment(images)
        assert out.shape == images.shape
        assert not torch.equal(out, images)
    generator = NightConfig(augmentation="generator", probability=1.0)
    augment = night.build(generator, translate=invert, stride=4)
    assert augment is not None
    assert torch.allclose(augment(images), 1 - images, atol=1e-6)
    with pytest.raises(ConfigError, match=r"night\.generator"):
        night.build(generator)
