"""What `d2n show` costs for a photograph of 512 px: python -m pytest benchmarks/test_show.py -m '' -s

From the bytes that the browser sends to the night's JPEG, by each published generator at its full size. CPU seconds,
which other work on the machine hardly changes; on two free cores the wait is about half of them.
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d2n.config import translator_config
from d2n.translators import checkpoint
from d2n.translators.from_config import generator_from_config
from d2n.workflows.show import champions, desk

MOST_CPU_S = 6.0  # two cores for three seconds


def photograph(width: int, height: int) -> bytes:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small).resize((width, height)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", ["pix2pix", "cyclegan"])
@pytest.mark.parametrize("preset", ["thesis", "toy"])
def test_a_photograph_of_512_px_is_seen_by_night_within_three_seconds(
    method: str, preset: str, tmp_path: Path
) -> None:
    config = translator_config(method, preset)
    made = generator_from_config(config, torch.Generator().manual_seed(0))
    checkpoint.save_generator(tmp_path / "one", made, config)
    table = desk.Desk(champions.loaded([str(tmp_path / "one")], None, "cpu"), None, 512)
    sent = photograph(2048, 1536)
    table.picture(photo(table, sent), "0")  # the first one sets threads and buffers up
    begun, wall = time.process_time(), time.perf_counter()
    shown = photo(table, sent)
    table.warnings(shown)
    night = table.picture(shown, "0")
    took, waited = time.process_time() - begun, time.perf_counter() - wall
    size = Image.open(io.BytesIO(night)).size
    print(f"\n{method}, {preset}, {size[0]} x {size[1]} px: {took:.2f} s CPU, {waited:.2f} s here")
    assert took < MOST_CPU_S


def photo(table: desk.Desk, sent: bytes) -> desk.Photograph:
    found = table.get(table.take(sent))
    assert found is not None
    return found
