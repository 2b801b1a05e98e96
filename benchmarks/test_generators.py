"""Time to load and images a second of what people pull, against the generator as it was trained.

    pytest benchmarks/test_generators.py -s          the pulled module, and ONNX on onnxruntime where it is installed

Rounds alternate, so that a busy machine slows all; the fastest of each counts. D2N_BENCH_CHANNELS (64) and
D2N_BENCH_REPEATS (5) choose the width and the rounds.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from d2n.tracking.models import archive
from d2n.translators import exchange, export
from d2n.translators.networks import ResNetGenerator, UNetGenerator
from d2n.translators.translate import translate_batch

CHANNELS = int(os.environ.get("D2N_BENCH_CHANNELS", "64"))
REPEATS = int(os.environ.get("D2N_BENCH_REPEATS", "5"))
SIZES = ((4, 128, 128), (1, 250, 333))
MAKERS = {
    "pix2pix (U-Net, depth 7)": lambda: UNetGenerator(7, CHANNELS, "batch"),
    "CycleGAN (ResNet, 6 blocks)": lambda: ResNetGenerator(6, CHANNELS, "instance"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_pulled_module_against_the_eager_one(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = MAKERS[name]().eval().requires_grad_(False)
    module, load_s = _loaded(generator, tmp_path)
    eager_s = _eager_load(name, generator, tmp_path)
    ways: dict[str, Callable[[torch.Tensor], object]] = {
        "eager": lambda x: ((translate_batch(generator, x * 2 - 1, generator.stride) + 1) / 2).clamp(0, 1),
        "pulled": module,
    }
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnxscript"):
        exchange.write_onnx(generator, generator.stride, tmp_path / "g.onnx")
        run = exchange.run_onnx(tmp_path / "g.onnx")
        ways["ONNX"] = lambda x: run(x.numpy())
    threads = torch.get_num_threads()
    print(f"\n{name}, {CHANNELS} channels, {threads} threads: loads in {load_s:.2f} s, eager {eager_s:.2f} s")
    for batch, height, width in SIZES:
        images = torch.rand(batch, 3, height, width)
        best = dict.fromkeys(ways, np.inf)
        with torch.no_grad():
            for _ in range(REPEATS + 1):
                for way, call in ways.items():
                    start = time.perf_counter()
                    call(images)
                    best[way] = min(best[way], time.perf_counter() - start)
        rates = {way: batch / seconds for way, seconds in best.items()}
        told = ", ".join(f"{way} {rate:.2f}/s ({rate / rates['eager']:.2f}x)" for way, rate in rates.items())
        print(f"  {batch} x {width} x {height}: {told}")
        assert rates["pulled"] >= 0.95 * rates["eager"]


def _eager_load(name: str, generator: torch.nn.Module, folder: Path) -> float:
    """Seconds to build the network and to fill it from safetensors."""
    save_file(generator.state_dict(), folder / "g.safetensors")
    start = time.perf_counter()
    MAKERS[name]().load_state_dict(load_file(folder / "g.safetensors"))
    return time.perf_counter() - start


def _loaded(generator: torch.nn.Module, folder: Path) -> tuple[torch.nn.Module, float]:
    """The archive as d2n writes it, loaded as people do, and the seconds it took (torch is imported by then)."""
    auto = torch.export.Dim.AUTO
    module = export.photographs(generator, generator.stride)
    shapes = ({0: auto, 2: auto, 3: auto},)
    example = torch.zeros(2, 3, generator.stride + 67, 2 * generator.stride + 129)
    torch.export.save(
        torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False), folder / "traced.pt2"
    )
    archive.rewrite(folder / "traced.pt2", folder / "model.pt2")
    start = time.perf_counter()
    loaded = torch.export.load(folder / "model.pt2").module()
    return loaded, time.perf_counter() - start
