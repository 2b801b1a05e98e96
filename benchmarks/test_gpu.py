"""On a GPU: images a second of training steps, of Inception's features and of a retrieval network's descriptors.

    pytest benchmarks/test_gpu.py -s                    every method, 256 and 512 px, batches of 1, 4 and 16
    pytest benchmarks/test_gpu.py -s -k "step and cut"  one of them
    D2N_BENCH_COMPILED=1 …                              steps whose networks are compiled, too: minutes more

The plain step is test_translators.py's: float32 with convolutions in TF32, as PyTorch has them. Products are of two
matrices of 8192 x 8192 in bf16, in the same run. FLOPs are those of the convolutions as they are defined, whatever
computes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.test_translators import CHANNELS, DEVICE, PLAIN, counted, ours, product_flops, seconds
from d2n.config import NetworkConfig
from d2n.core import Compute
from d2n.devices import resolve_precision
from d2n.retrieval import network as networks
from d2n.retrieval.search import embed_scales
from d2n.scores.features import build_extractor, extract
from d2n.scores.trunks import random_network

if TYPE_CHECKING:
    from benchmarks.conftest import Ratio

COMPILED = os.environ.get("D2N_BENCH_COMPILED") == "1"
pytestmark = pytest.mark.skipif(DEVICE.type != "cuda", reason="no GPU here")
Step = Callable[[Tensor, Tensor], object]


@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("px", [256, 512])
@pytest.mark.parametrize("method", ["pix2pix", "cyclegan", "cut"])
def test_step(method: str, px: int, batch: int, ratio: Ratio) -> None:
    rates, told, waits = step_rates(method, px, batch)
    print(f"\n{told}")
    if "plain" in rates:
        what = f"{method} step on a GPU, {px} px, {CHANNELS} channels, batch {batch}"
        ratio(what, "plain float32", rates["ours"] / rates["plain"])
    assert waits == 0


def step_rates(method: str, px: int, batch: int) -> tuple[dict[str, float], str, int]:
    """Images a second by kind of step, the same told with shares of a product's rate; waits of ours for the device."""
    torch.manual_seed(0)
    day, night = (torch.rand(batch, 3, px, px, device=DEVICE) * 2 - 1 for _ in range(2))
    makers: dict[str, Callable[[], Step]] = {
        "plain": lambda: PLAIN[method](CHANNELS, px),
        "not recorded": lambda: ours(method, px, graphs=False),
        "ours": lambda: ours(method, px),
    }
    if COMPILED:
        makers["compiled"] = lambda: ours(method, px, compiled=True)
    if method not in PLAIN:
        del makers["plain"]
    precision = resolve_precision("auto", DEVICE)
    product = max(product_flops(precision) for _ in range(5))
    flops = flops_of(method, px, batch)
    waits, rates = 0, {}
    for name, make in makers.items():  # one after the other: of the largest, two do not fit
        step = make()
        for _ in range(5):  # what is compiled, tuned and recorded is not counted
            step(day, night)
        waits += waits_of(step, day, night) if name != "plain" else 0
        rates[name] = batch / in_a_row(step, day, night)
        del step
        torch.cuda.empty_cache()
    heading = f"{method} {px} px, batch {batch}, {CHANNELS} channels, {precision}, product {product / 1e12:.0f} TFLOP/s"
    shares = (
        f"{name} {rate:.3g} images/s ({flops / batch * rate / product:.0%})" for name, rate in rates.items()
    )
    return rates, f"{heading}: {', '.join(shares)}", waits


def flops_of(method: str, px: int, batch: int) -> float:
    """Of a step: of the plain one where there is one, as ours computes some convolutions otherwise."""
    day, night = (torch.rand(1, 3, px, px, device=DEVICE) * 2 - 1 for _ in range(2))
    step = PLAIN[method](CHANNELS, px) if method in PLAIN else ours(method, px, graphs=False)
    return float(batch * sum(counted(step, day, night).values()))


def in_a_row(step: Step, day: Tensor, night: Tensor) -> float:
    """Seconds a step, of up to ten that do not wait for each other; the best of three times as many."""
    count = max(1, min(10, round(0.3 / seconds(step, day, night))))
    return min(seconds(lambda x, y: [step(x, y) for _ in range(count)], day, night) / count for _ in range(3))


def waits_of(step: Callable[[Tensor, Tensor], object], day: Tensor, night: Tensor) -> int:
    """How often the host waited for the device in a step, by the profiler."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if DEVICE.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profiler:
        step(day, night)
    found = {event.key: event.count for event in profiler.key_averages()}
    at_its_end = min(found.get("cudaDeviceSynchronize", 0), 1)  # the profiler's own
    return found.get("cudaStreamSynchronize", 0) + found.get("cudaDeviceSynchronize", 0) - at_its_end


def test_inception(ratio: Ratio) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (512, 256, 256, 3), dtype=np.uint8))
    rates = {}
    for precision in ("fp32", "bf16"):
        extractor = build_extractor("random-inception", compute=Compute(str(DEVICE), precision))
        rates[precision] = len(images) / best_of(lambda e=extractor: extract(e, images))
    net = random_network("inception", seed=0)[0].to(DEVICE).eval()

    def plain() -> None:
        for start in range(0, len(images), 32):
            pixels = torch.from_numpy(np.stack(images[start : start + 32]).transpose(0, 3, 1, 2).copy()).to(
                DEVICE
            )
            with torch.no_grad():
                net(F.interpolate(pixels.float() / 127.5 - 1, (299, 299), mode="bilinear")).cpu()

    rates["plain"] = len(images) / best_of(plain)
    told = ", ".join(f"{name} {rate:.0f} images/s" for name, rate in rates.items())
    print(f"\nInception's features of 256 px, resizing included: {told}")
    ratio("Inception's features on a GPU", "plain float32", rates["fp32"] / rates["plain"])


def test_descriptors(ratio: Ratio) -> None:
    """VGG16-GeM at three scales of photographs of 1024 x 768: ours beside an image at a time in float32."""
    images = list(np.random.default_rng(0).integers(0, 256, (48, 768, 1024, 3), dtype=np.uint8))
    net = networks.build(NetworkConfig(backbone="vgg16", weights="none"), download=False).to(DEVICE).eval()
    scales = (1.0, 2**-0.5, 0.5)

    def embedded(half: bool, batch: int) -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=half):
            embed_scales(net, images, scales, batch, DEVICE)

    rates = {"plain": len(images) / best_of(lambda: embedded(False, 1))}
    rates["fp32, batch 8"] = len(images) / best_of(lambda: embedded(False, 8))
    net.to(memory_format=torch.channels_last)
    rates["bf16, batch 8"] = len(images) / best_of(lambda: embedded(True, 8))
    print(
        "\nVGG16-GeM, three scales: "
        + ", ".join(f"{name} {rate:.3g} images/s" for name, rate in rates.items())
    )
    ratio("VGG16-GeM descriptors on a GPU, bf16", "plain float32", rates["bf16, batch 8"] / rates["plain"])


def best_of(run: Callable[[], object], times: int = 2) -> float:
    """Seconds, after a first run that is not counted."""
    run()
    return min(seconds(lambda _x, _y: run(), torch.empty(0), torch.empty(0)) for _ in range(times))
