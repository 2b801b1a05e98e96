"""Processes that promote at once, as far as the registry sees it; one of them may be killed at a call."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from d2n.tracking import history, names, registry
from d2n.tracking.registry_lock import exclusive
from d2n.tracking.runs import open_store


class DyingClient:
    """Passes calls on, and ends the process inside one of them, as kill -9 does."""

    def __init__(self, client: Any, dies_at: int) -> None:
        self._client, self._left = client, dies_at

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return self._counted(found) if callable(found) else found

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                os._exit(9)
            return function(*args, **kwargs)

        return call


def promote_each(uri: str, model: str, logged: list[tuple[str, str]], dies_at: int = 0) -> None:
    """Each logged model in turn as a version and as the champion."""
    store = open_store(uri)
    if dies_at:
        store.client = DyingClient(store.client, dies_at)  # type: ignore[assignment] # stands in for MLflow's
    for run_id, model_id in logged:
        registry.create_model(store, model)
        with exclusive(store, model):
            version = registry.register(store, model_name=model, run_id=run_id, model_id=model_id).version
            former = registry.list_aliases(store, model).get(names.CHAMPION)
            moves = {names.PREVIOUS: former} if former and former != version else {}
            moves[names.CHAMPION] = version
            history.move(store, model, moves, main=names.CHAMPION, reason="better", by="promote")
