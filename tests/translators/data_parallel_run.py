"""One process of a data-parallel run: torchrun starts this file. Writes each step's losses as JSON, from
rank 0.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from d2n.config import METHODS
from d2n.translators import build, distributed
from d2n.translators.loop import Schedule, train

OWN_NETWORK = ("stargan", "photometric")


def batches(start: int, stop: int):
    for step in range(start, stop):
        random = torch.Generator().manual_seed(step)
        yield {name: torch.rand(4, 3, 16, 16, generator=random) * 2 - 1 for name in ("day", "night")}


def main(method: str, out: Path) -> None:
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)  # rounding apart, the two must agree
    own = {"edges": "sobel", "lambda_identity": 0.5, "n_critic": 2, "class_kernel": 2}
    config = METHODS[method].config(
        **{knob: value for knob, value in own.items() if knob in METHODS[method].own},
        **({} if method in OWN_NETWORK else {"generator": "unet" if method == "pix2pix" else "resnet"}),
        generator_channels=4,
        generator_norm="instance",  # of batch norm each process has statistics of its own
        generator_blocks=1,
        unet_depth=3,
        discriminator_channels=4,
        discriminator_layers=1,
        init_gain=0.2,
        lr=1e-3,
        pool_size=0,
    )
    with distributed.process_group():
        translator = build(config, total_steps=6, seed=0)
        steps = train(translator, batches, Schedule(n_epochs=2, steps_per_epoch=3, log_every_steps=1))
        results = [step.epoch for step in steps if step.epoch is not None]
        state = translator.state()
        if distributed.rank() == 0:
            history = [[step, dict(losses)] for result in results for step, losses in result.history]
            out.write_text(json.dumps({"history": history, "processes": len(state["processes"])}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
