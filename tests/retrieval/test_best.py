from __future__ import annotations

import math

import torch

from d2n.retrieval.best import Best


def weights(value: float) -> torch.nn.Linear:
    made = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(made.weight, value)
    return made


def test_patience_counts_validations_without_a_better_one_and_the_best_come_back() -> None:
    best, seen = Best(2), []
    for epoch, value in enumerate((0.3, 0.5, 0.5, math.nan), 1):
        best.told(value, epoch, weights(epoch))
        seen.append(best.is_out)
    assert seen == [False, False, False, True]
    again = Best(2)
    again.load_state(best.state())
    for one in (best, again):
        net = weights(9)
        one.give(net)
        assert (float(net.weight.detach()), one.epoch, one.value, one.is_out) == (2, 2, 0.5, True)


def test_without_patience_nothing_is_kept() -> None:
    best, net = Best(0), weights(3)
    best.told(0.5, 1, weights(1))
    best.told(0.1, 2, weights(1))
    best.give(net)
    assert not best.is_out
    assert best.state() is None
    assert float(net.weight.detach()) == 3
