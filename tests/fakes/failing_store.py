"""A tracking store that goes away at one call, before it or after it was done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow.exceptions import MlflowException

from d2n.tracking.runs import Store


class FailingClient:
    """Passes calls on, but for the one of this number: refused before it is done, or its answer lost after."""

    def __init__(self, client: Any, fails_at: int, is_done: bool) -> None:
        self._client, self._fails_at, self._is_done = client, fails_at, is_done
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return self._counted(found) if callable(found) else found

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count < self._fails_at:
                return function(*args, **kwargs)
            if self.count == self._fails_at and self._is_done:
                function(*args, **kwargs)
            raise MlflowException("connection refused: the server went away")  # and stays away

        return call


def going_away(store: Store, fails_at: int, is_done: bool) -> tuple[Store, FailingClient]:
    """The same store seen by one whose server goes away at a call and stays away."""
    other = Store(store.uri, store.artifact_root, retry_s=0.0)
    client = FailingClient(other.client, fails_at, is_done)
    other.client = client  # type: ignore[assignment] # stands in for MLflow's
    return other, client
