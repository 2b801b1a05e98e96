"""The mean of a network's weights over the last epochs, and that a resumed one ends with the same."""

from __future__ import annotations

import pytest
import torch

from d2n.config import RetrievalTrainingConfig
from d2n.retrieval.average import Average
from d2n.retrieval.optimiser import set_lr


def weights_after(last: int, *, break_at: int = 0, n_epochs: int = 4) -> float:
    """A network whose weight is the epoch's square, and at last perhaps a mean."""
    network = torch.nn.Linear(1, 1, bias=False)
    average = Average(n_epochs, last)
    for epoch in range(1, n_epochs + 1):
        with torch.no_grad():
            network.weight.fill_(float(epoch**2))
        average.after(epoch, network)
        if epoch == break_at:
            resumed = Average(n_epochs, last)
            resumed.load_state(average.state())
            average = resumed
    return float(network.weight.item())


@pytest.mark.parametrize(("last", "mean"), [(0, 16), (1, 16), (2, 12.5), (3, 29 / 3), (4, 7.5), (9, 7.5)])
def test_the_network_ends_as_the_mean_of_its_last_epochs(last: int, mean: float) -> None:
    assert weights_after(last) == pytest.approx(mean)


@pytest.mark.parametrize("break_at", [1, 2, 3])
def test_a_resumed_training_has_the_same_mean(break_at: int) -> None:
    assert weights_after(3, break_at=break_at) == weights_after(3)


def test_a_checkpoint_from_before_there_were_means_goes_on() -> None:
    average = Average(4, 2)
    average.load_state(None)
    assert average.state()["count"] == 0


def test_a_cosine_ends_at_the_share_that_is_asked() -> None:
    optimizer = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr_factor": 1.0}], lr=1.0)
    config = RetrievalTrainingConfig(n_epochs=4, lr=2.0, lr_schedule="cosine", lr_end=0.25)
    rates = []
    for step in (0, 20, 40):
        set_lr(optimizer, config, step, steps_per_epoch=10)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([2.0, 1.25, 0.5])
