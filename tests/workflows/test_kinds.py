"""Rows of the kinds of experiment: complete, read without torch, and asked for by search alone."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

from d2n import config
from d2n.workflows.kinds import KINDS, kind_of


def test_every_kind_of_the_config_has_a_row_that_a_worker_process_can_be_given() -> None:
    assert {name: row.knobs for name, row in KINDS.items()} == dict(config.kinds.KINDS)
    for row in KINDS.values():
        assert all(getattr(row, field.name) is not None for field in dataclasses.fields(row))
        assert pickle.loads(pickle.dumps(row)) == row  # noqa: S301 - its own
        assert kind_of(row.knobs()) is row


def test_rows_are_read_where_torch_is_absent() -> None:
    code = "import sys; sys.modules['torch'] = None; import d2n.workflows.kinds; print('imported')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "imported\n", done.stderr
