"""A small training process that may be killed at any moment and started again: resumes from its last checkpoint.

Arguments: method, folder, epochs. Appends each logged step to folder/history.jsonl; writes folder/done at
the end.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from d2n.config import METHODS, TranslatorConfig
from d2n.core import Compute
from d2n.errors import CheckpointError
from d2n.translators import build, checkpoint
from d2n.translators.loop import Schedule, train

STEPS_PER_EPOCH = 3
OWN_NETWORK = ("stargan", "photometric")


def batches(start: int, stop: int):
    for step in range(start, stop):
        random = torch.Generator().manual_seed(step)
        yield {name: torch.rand(2, 3, 64, 64, generator=random) * 2 - 1 for name in ("day", "night")}


def tiny(method: str) -> TranslatorConfig:
    """Everything on that keeps state or draws at random."""
    own = {"edges": "sobel", "n_critic": 2, "lambda_latent": 0.5}
    return METHODS[method].config(
        **{knob: value for knob, value in own.items() if knob in METHODS[method].own},
        **({} if method in OWN_NETWORK else {"generator": "unet" if method == "pix2pix" else "resnet"}),
        generator_channels=4,
        generator_blocks=1,
        unet_depth=6,
        discriminator_channels=4,
        discriminator_layers=1,
        dropout=True,
        pool_size=3,
        ema_decay=0.9,
        lambda_history=1e-3,
        diffaugment=("translation", "cutout"),
        lr=2e-3,
        lr_schedule="linear",
    )


def main(method: str, folder: Path, n_epochs: int) -> None:
    torch.set_num_threads(1)
    translator = build(
        tiny(method), total_steps=n_epochs * STEPS_PER_EPOCH, seed=1, compute=Compute(precision="bf16")
    )
    try:
        translator.load_state(checkpoint.load(folder / "checkpoints").state)
    except CheckpointError:
        if list((folder / "checkpoints").glob("*.json")):
            raise
    with (folder / "history.jsonl").open("a") as log:
        for step in train(translator, batches, Schedule(n_epochs, STEPS_PER_EPOCH, log_every_steps=2)):
            if (result := step.epoch) is None:
                continue
            log.writelines(json.dumps([at, dict(losses)]) + "\n" for at, losses in result.history)
            log.write(json.dumps([f"epoch {result.epoch}", dict(result.losses)]) + "\n")
            log.flush()
            os.fsync(log.fileno())
            checkpoint.save(folder / "checkpoints", translator.state(), {"step": result.step})
    (folder / "done").touch()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
