"""Memory, time and difference of a large photograph in strips against whole; each in a process of its own.

    pytest benchmarks/test_strips.py -s                              1600 x 1200, both generators
    D2N_BENCH_SIZES=1600x1200,4000x3000 pytest benchmarks/test_strips.py -s -k resnet

From 3 million pixels on only the strips are run: the whole image may not fit. The picture is bright above and dark
below; "tiles" says how far its quarters, each translated by itself, are from the whole.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SIZES = os.environ.get("D2N_BENCH_SIZES", "1600x1200").split(",")
CHANNELS = os.environ.get("D2N_BENCH_CHANNELS", "64")
MOST_PIXELS_WHOLE = 3_000_000
SCRIPT = """
import resource, sys, time
import numpy as np, torch
from d2n.translators.networks import ResNetGenerator, UNetGenerator
from d2n.translators.norms import set_inference_norm
from d2n.translators.translate import translate_image

kind, way, size, channels, out = sys.argv[1:]
width, height = map(int, size.split("x"))
torch.manual_seed(0)
make = {
    "resnet": lambda c: ResNetGenerator(9, c, init_gain=0.05),
    "unet": lambda c: UNetGenerator(8, c, init_gain=0.05),
}
net = make[kind](int(channels))
set_inference_norm(net, "batch")
coarse = np.random.default_rng(0).integers(0, 100, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)
image = (coarse + np.linspace(150, 0, height)[:, None, None]).astype(np.uint8)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
translate_image(net, image[:256, :256], net.stride)  # first use
before, start = peak(), time.perf_counter()
if way == "tiles":
    h, w = height // 2, width // 2
    quarters = [[translate_image(net, image[y:y + h, x:x + w], net.stride) for x in (0, w)] for y in (0, h)]
    night = np.concatenate([np.concatenate(row, axis=1) for row in quarters])
else:
    night = translate_image(net, image, net.stride, max_pixels=10**9 if way == "whole" else 1)
print(time.perf_counter() - start, before, peak())
np.save(out, night)
"""


def translated(kind: str, way: str, size: str, out: Path) -> tuple[float, float, np.ndarray]:
    """Seconds, peak GB over those of the process with its weights, and the night."""
    command = [sys.executable, "-c", SCRIPT, kind, way, size, CHANNELS, str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, before, peak = map(float, done.stdout.split()[-3:])
    return seconds, peak - before, np.load(out).astype(int)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["resnet", "unet"])
def test_strips(kind: str, size: str, tmp_path: Path) -> None:
    width, height = map(int, size.split("x"))
    seconds, memory, strips = translated(kind, "strips", size, tmp_path / "strips.npy")
    print(
        f"\n{kind}, {CHANNELS} channels, {size}, float32: in strips {seconds:.1f} s and {memory:.2f} GB",
        end="",
    )
    if width * height > MOST_PIXELS_WHOLE:
        print()
        return
    seconds, memory, whole = translated(kind, "whole", size, tmp_path / "whole.npy")
    _, _, tiles = translated(kind, "tiles", size, tmp_path / "tiles.npy")
    apart, tiles_apart = np.abs(strips - whole), np.abs(tiles - whole)
    share = 100 * (apart > 0).mean()
    print(
        f"; whole {seconds:.1f} s and {memory:.2f} GB; of 255 apart: {apart.max()} at most, in {share:.3f} % of values"
    )
    print(
        f"{kind}, {size}, quarters as tiles: {tiles_apart.max()} at most, {tiles_apart.mean():.1f} on average"
    )
    assert apart.max() <= 1
