"""A step that reads nothing back: on a GPU the host would wait for the device there."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from d2n.config import translator_config
from d2n.core import Compute
from d2n.translators import build

_READ_BACK = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::masked_select"}
_MADE = {
    "aten::lift_fresh"
}  # a tensor of Python's numbers: its way to a GPU waits for what is computed there


class Reads(TorchDispatchMode):
    """Where a tensor's values are read by Python, or a tensor is made of Python's, while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.name() in _READ_BACK | _MADE:
            self.places += [line for line in traceback.format_stack() if "/d2n/" in line][-1:] or [
                func.name()
            ]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("method", "knobs"),
    [
        ("pix2pix", {}),
        ("pix2pix", {"normalize_loss_weights": True, "ema_decay": 0.9}),
        ("cyclegan", {}),
        ("cut", {}),
        ("hedngan", {"edges": "sobel"}),
        (
            "cyclegan",
            {"diffaugment": ["translation", "cutout"], "spectral_norm": True, "lambda_history": 0.1},
        ),
        ("combogan", {}),
        ("stargan", {}),
        ("todaygan", {}),
    ],
)
def test_a_step_reads_nothing_back(method: str, knobs: dict[str, Any]) -> None:
    knobs = {"lambda_edge": 1.0, "lambda_luminance": 1.0, **knobs}
    config = translator_config(method, "toy", generator_channels=4, discriminator_channels=4, **knobs)
    translator = build(config, total_steps=10, seed=0, compute=Compute("cpu", "fp32", channels_last=False))
    day, night = (torch.rand(2, 3, 64, 64) * 2 - 1 for _ in range(2))
    translator.step(day, night)  # what is made once may be
    with Reads() as reads:
        for _ in range(3):
            translator.step(day, night)
    assert reads.places == []
    for seen in (lambda: float(day.sum()), lambda: torch.tensor([1.0])):
        with Reads() as reads:
            seen()
        assert reads.places != []
