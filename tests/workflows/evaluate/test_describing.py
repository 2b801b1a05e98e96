from __future__ import annotations

from pathlib import Path

import torch

from d2n.backbones.toy import toy_trunk
from d2n.devices import resolve_precision
from d2n.retrieval.network import RetrievalNetwork
from d2n.retrieval.search import View
from d2n.workflows.evaluate.describing import Describer


def test_descriptors_are_kept_by_the_numbers_they_were_computed_in() -> None:
    """``auto`` is bf16 on one processor and fp32 on another that shares the folder."""
    net = RetrievalNetwork(toy_trunk())
    kept = {
        precision: Describer(net, View(64, precision=precision), Path()).identity(turn=True)
        for precision in ("auto", "fp32", "bf16")
    }
    assert kept["auto"] == kept[resolve_precision("auto", torch.device("cpu"))]
    assert kept["fp32"] != kept["bf16"]
    assert kept["fp32"]["view"] == '[64, [1.0], false, "fp32"]'  # as earlier releases kept it
