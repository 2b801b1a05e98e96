"""The optimiser of fine-tuning: which parameters learn how fast."""

from __future__ import annotations

import math

import torch

from d2n.config import RetrievalTrainingConfig
from d2n.retrieval.network import RetrievalNetwork


def adam(network: RetrievalNetwork, config: RetrievalTrainingConfig) -> torch.optim.Adam:
    """GeM's p at gem_lr_factor times the rate and without weight decay (thesis 3.3, TPAMI 2019)."""
    learned = {name: p for name, p in network.named_parameters() if p.requires_grad}
    pooling = [learned.pop("pool.p")] if "pool.p" in learned else []
    others = list(learned.values())
    groups = [
        {"params": others, "lr_factor": 1.0},
        {"params": pooling, "lr_factor": config.gem_lr_factor, "weight_decay": 0.0},
    ]
    return torch.optim.Adam(groups, lr=config.lr, weight_decay=config.weight_decay, foreach=True)


def set_lr(
    optimizer: torch.optim.Optimizer, config: RetrievalTrainingConfig, step: int, steps_per_epoch: int
) -> None:
    """The rates of a step: by the schedule, and by each group's own factor."""
    if config.lr_schedule == "cosine":
        done = step / (config.n_epochs * steps_per_epoch)
        scale = config.lr_end + (1 - config.lr_end) * 0.5 * (1 + math.cos(math.pi * done))
    else:
        scale = config.lr_gamma ** (step // steps_per_epoch)
    for group in optimizer.param_groups:
        group["lr"] = config.lr * group["lr_factor"] * scale
