"""A retrieval network in training: what its pretraining is kept under."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from d2n.config import NetworkConfig
from d2n.workflows.retrieval import _identity


def test_what_was_pretrained_before_a_knob_came_is_found_and_a_set_knob_counts(tmp_path: Path) -> None:
    usual = NetworkConfig()
    assert {"light_weights", "pooling", "mix_side"}.isdisjoint(_identity(usual))
    assert _identity(dataclasses.replace(usual, pooling="mac"))["pooling"] == "mac"
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    for path, content in ((one, b"a"), (same, b"a"), (other, b"b")):
        path.write_bytes(content)
    found = [
        _identity(dataclasses.replace(usual, light="photometric", light_weights=str(path)))
        for path in (one, same, other)
    ]
    assert found[0] == found[1] != found[2]
