"""What torch.compile, memory layouts, fusions and d2n's own layers give to a step and to a translation, in one run.

    pytest benchmarks/test_variants.py -s -m ""

Times of d2n as it is over those of the variant: above 1 the variant is faster. Repeats alternate; the fastest counts.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor import config as inductor

from benchmarks.test_translators import DEVICE, REPEATS, knobs_of, ours, seconds
from d2n.config import translator_config
from d2n.core import Compute
from d2n.devices import resolve_precision
from d2n.translators import build, coarse, norms, winograd

pytestmark = [
    pytest.mark.slow,  # compiling takes minutes
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore"),  # the compiler's own
]


def in_turn(names: Iterable[str], round_: int) -> list[str]:
    """In each round another is the first."""
    order = list(names)
    return order[round_ % len(order) :] + order[: round_ % len(order)]


@contextlib.contextmanager
def value(module: ModuleType, name: str, new: object) -> Iterator[None]:
    """A module's constant is another inside."""
    old = getattr(module, name)
    setattr(module, name, new)
    try:
        yield
    finally:
        setattr(module, name, old)


@pytest.mark.parametrize("px", [64, 128, 256])
@pytest.mark.parametrize(("method", "batch"), [("cyclegan", 1), ("pix2pix", 5)])
def test_variants_of_a_step(method: str, batch: int, px: int) -> None:
    torch.manual_seed(0)
    day, night = (torch.rand(batch, 3, px, px, device=DEVICE) * 2 - 1 for _ in range(2))
    unchanged = contextlib.nullcontext
    variants: dict[str, tuple[Callable[[Tensor, Tensor], object], Callable[[], Any]]] = {
        "d2n": (ours(method, px), unchanged),
        "torch.compile": (ours(method, px, compiled=True), unchanged),
        "contiguous layout": (ours(method, px, channels_last=False), unchanged),
        "no products": (ours(method, px), lambda: value(coarse, "_FEW_PLACES", 0)),
        "no Winograd": (ours(method, px), lambda: value(winograd, "_ENOUGH_CHANNELS", 10**9)),
        "gradients of norms as they come": (
            ours(method, px),
            lambda: value(norms, "_dense_gradient", lambda x: x),
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for round_ in range(2 * REPEATS + 1):
        for name in in_turn(variants, round_):
            step, changed = variants[name]
            with changed():
                step(day, night)  # what came before left the caches to others
                taken[name].append(seconds(step, day, night))
    best = {name: min(values[1:]) for name, values in taken.items()}  # the first compiles and allocates
    told = ", ".join(f"{name} {best['d2n'] / spent:.2f} x" for name, spent in best.items() if name != "d2n")
    precision = resolve_precision("auto", DEVICE)
    print(f"\n{method} {px} px, batch {batch}, {precision}: d2n {best['d2n'] * 1e3:.0f} ms; {told}")
    assert best["d2n"] > 0


@pytest.mark.parametrize("method", ["cyclegan", "pix2pix"])
def test_variants_of_a_translation(method: str) -> None:
    """A generator's night of a photograph of 256 px: eager, compiled, and frozen with oneDNN's fusions."""
    config = translator_config(method, "reference", **knobs_of(method, 256))
    bf16 = resolve_precision("auto", DEVICE) == "bf16"
    net = build(config, total_steps=1, seed=0, compute=Compute(channels_last=True)).generator.eval()
    net.requires_grad_(False)
    day = torch.rand(1, 3, 256, 256).to(memory_format=torch.channels_last)
    frozen = inductor.patch(freezing=True)(torch.compile(net))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript leaves torch with a later release
        torch.jit.enable_onednn_fusion(True)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False):
            fused = torch.jit.freeze(torch.jit.trace(net, day, check_trace=False))
    runs = {
        "eager": net,
        "torch.compile": torch.compile(net),
        "compiled, frozen": frozen,
        "oneDNN's graphs": fused,
    }
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(3 + 3 * REPEATS):
        for name in in_turn(runs, round_):
            run = runs[name]
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                run(day)
                taken[name].append(seconds(lambda x, _, run=run: run(x), day, day))
    best = {name: min(values[3:]) for name, values in taken.items()}
    told = ", ".join(
        f"{name} {best['eager'] / spent:.2f} x" for name, spent in best.items() if name != "eager"
    )
    print(f"\n{method}'s generator, 256 px: eager {best['eager'] * 1e3:.0f} ms; {told}")
    assert best["eager"] > 0
