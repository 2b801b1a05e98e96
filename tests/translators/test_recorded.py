"""A recorded step: the numbers of a step as it is, whatever the image pools and the streams draw."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from d2n.config import translator_config
from d2n.core import Compute
from d2n.errors import TrainingError
from d2n.translators import build
from d2n.translators.gan import Gan
from d2n.translators.pool import ImagePool
from d2n.translators.recorded import RecordedStep, is_recordable

CASES: list[tuple[str, dict[str, Any]]] = [
    ("pix2pix", {"dropout": True, "unet_depth": 6}),
    ("pix2pix", {"pool_size": 3, "ema_decay": 0.9}),
    ("cyclegan", {"pool_size": 4, "lambda_edge": 1.0}),
    ("cyclegan", {"diffaugment": ["translation", "cutout"], "spectral_norm": True, "gradient_clip": 1.0}),
    ("cut", {"pool_size": 2}),
    ("hedngan", {"edges": "sobel"}),
]


class Later:
    """What is recorded is done at each replay: a graph's order of events, by Python."""

    made = 0

    def __init__(self, device: torch.device) -> None:
        assert device.type == "cpu"

    def record(self, body: Callable[[], None], streams: list[torch.Generator]) -> None:
        Later.made += 1
        self.body = body

    def replay(self) -> None:
        self.body()


class Unable(Later):
    def record(self, body: Callable[[], None], streams: list[torch.Generator]) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


def built(method: str, knobs: dict[str, Any], recorder: Any = None, *, channels_last: bool = True) -> Gan:
    config = translator_config(method, "toy", generator_channels=4, discriminator_channels=4, **knobs)
    translator = build(config, total_steps=20, seed=0, compute=Compute(channels_last=channels_last))
    if recorder is not None:
        translator.recorded = RecordedStep(translator.pools, translator.device, recorder)
    return translator


def batch(step: int, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(step)
    day, night = (torch.rand(count, 3, 64, 64, generator=random) * 2 - 1 for _ in range(2))
    return day, night


def assert_equal(a: Any, b: Any) -> None:
    """Nested states, to the bit."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    else:
        assert a == b


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(("method", "knobs"), CASES)
def test_a_recorded_step_is_the_step(method: str, knobs: dict[str, Any], channels_last: bool) -> None:
    plain, recorded = (built(method, knobs, how, channels_last=channels_last) for how in (None, Later))
    Later.made = 0
    kept = []
    for step in range(9):
        a, b = plain.step(*batch(step)), recorded.step(*batch(step))
        assert_equal(a, b)
        kept.append((b, {name: value.clone() for name, value in b.items()}))
    assert Later.made == 1
    assert_equal(plain.state(), recorded.state())
    for values, then in kept:
        assert_equal(values, then)  # a later step does not write into what an earlier one gave


@pytest.mark.parametrize(("method", "knobs"), CASES[1:4])
def test_it_goes_on_where_a_state_was_saved(method: str, knobs: dict[str, Any]) -> None:
    whole, resumed = built(method, knobs, Later), built(method, knobs, Later)
    for step in range(12):
        whole.step(*batch(step))
        if step == 5:
            state = whole.state()
    for step in range(5):
        resumed.step(*batch(step + 100))  # recorded before the state comes
    resumed.load_state(state)
    for step in range(6, 12):
        resumed.step(*batch(step))
    assert_equal(whole.state(), resumed.state())


def test_another_shape_is_recorded_anew() -> None:
    plain, recorded = built("cyclegan", {"pool_size": 4}), built("cyclegan", {"pool_size": 4}, Later)
    Later.made = 0
    for step, count in enumerate([2] * 5 + [1] * 5 + [2] * 5):
        assert_equal(plain.step(*batch(step, count)), recorded.step(*batch(step, count)))
    assert Later.made == 3
    assert_equal(plain.state(), recorded.state())


def test_what_cannot_be_recorded_ends_the_training_in_one_line() -> None:
    unable = built("cyclegan", {"pool_size": 4}, Unable)
    expected = (
        r"^a step could not be recorded .*when stream is capturing; go on with training.cuda_graphs=false$"
    )
    for step in range(3):
        unable.step(*batch(step))
    with pytest.raises(TrainingError, match=expected):
        unable.step(*batch(3))


def test_a_stream_asked_for_twice_in_a_step_is_not_recorded() -> None:
    def step(images: Any) -> dict[str, torch.Tensor]:
        streams = [one.stream(("a",), 3) for _ in range(2)]
        return {"x": torch.rand((), generator=streams[0]) + torch.rand((), generator=one.stream(("a",), 3))}

    Later.made = 0
    one = RecordedStep({}, torch.device("cpu"), Later)
    found = [float(one({}, step, lambda purpose: 3)["x"]) for _ in range(6)]
    assert len(set(found)) == 1
    assert Later.made == 0


def test_images_of_many_sizes_are_not_recorded() -> None:
    plain, recorded = built("cyclegan", {"pool_size": 4}), built("cyclegan", {"pool_size": 4}, Later)
    for step in range(12):
        random = torch.Generator().manual_seed(step)
        sides = (64, 96) if step % 2 else (64, 64)
        images = [torch.rand(1, 3, *sides, generator=random) * 2 - 1 for _ in range(2)]
        assert_equal(plain.step(*images), recorded.step(*images))
    assert_equal(plain.state(), recorded.state())


def test_a_translator_is_free_when_nobody_holds_it() -> None:
    translator = built("cyclegan", {"pool_size": 4}, Later)
    for step in range(3):  # not yet recorded: what stands for CUDA's graph here holds the step
        translator.step(*batch(step))
    gone = weakref.ref(translator)
    gc.disable()
    try:
        del translator
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_pool_laid_out_gives_what_the_pool_gives(size: int, count: int) -> None:
    plain, laid_out = ImagePool(size, seed=1), ImagePool(size, seed=1)
    images = torch.arange(60 * count, dtype=torch.float32).view(-1, count, 1, 1, 1).expand(-1, -1, 3, 2, 2)
    for number, some in enumerate(images):
        if number == 1:
            laid_out.lay_out(count)
        laid_out.plan()
        found = laid_out.query(some)
        assert torch.equal(plain.query(some), found)
        assert found.stride() == some.contiguous().stride()
        assert_equal(plain.state(), laid_out.state())
        if number == 40:
            laid_out.gather()


def test_a_processor_records_nothing() -> None:
    translator = built("pix2pix", {})
    assert not is_recordable(translator)
    config = translator_config("pix2pix", "toy", generator_channels=4, discriminator_channels=4)
    asked = build(config, total_steps=1, seed=0, compute=Compute(cuda_graphs=True))
    assert asked.recorded is None
