from __future__ import annotations

import pytest

from d2n.errors import TrackingError
from d2n.tracking import names
from d2n.tracking.runs import Store
from d2n.workflows.promote import scoring


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 40_000, "\x00"])
def test_a_config_that_was_damaged_is_one_line(store: Store, text: str) -> None:
    with store.start_run("d2n/toycity", "one") as run:
        run.log_text(text, names.CONFIG_JSON)
    with pytest.raises(TrackingError) as caught:
        scoring.run_experiment(store, store.get(run.run_id))
    assert "resolved.json" in str(caught.value)
    assert "\n" not in str(caught.value)
