"""Where a run or a model stands in MLflow's pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from d2n import databases
from d2n.tracking import names, registry
from d2n.tracking.connection import Connection

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

LOCAL_UI = "http://127.0.0.1:5000"  # of `d2n ui` on an embedded store


@dataclass(frozen=True)
class Place:
    """A store as the report names it, and the address of its pages."""

    store: str = ""  # without a password
    ui: str = LOCAL_UI
    is_server: bool = False

    def run(self, experiment_id: str, run_id: str) -> str:
        """The run's page; '' where the experiment is not known."""
        return f"{self.ui}/{names.run_page(experiment_id, run_id)}" if experiment_id else ""

    def model(self, name: str, version: str) -> str:
        """The page of a version of a registered model."""
        return f"{self.ui}/#/models/{name}/versions/{version}"


def place_of(store: Store) -> Place:
    """A server has pages of its own; those of an embedded store are served by `d2n ui`."""
    if not isinstance(store, Connection):
        return Place()
    if store.uri.startswith("http"):
        return Place(store.display_uri, databases.without_login(store.uri).rstrip("/"), is_server=True)
    return Place(store.display_uri)


def champions_of(store: Store, datasets: Iterable[str]) -> set[str]:
    """The logged models that a champion's alias names, of these data sets."""
    if not isinstance(store, Connection):
        return set()
    found = set()
    wanted = tuple({names.generator_model(dataset) for dataset in datasets if dataset})
    for model in registry.list_models(store):
        if model in wanted or model.startswith(tuple(f"{one}." for one in wanted)):  # of every direction
            versions = registry.list_versions(store, model)
            found |= {one.model_id for one in versions if names.CHAMPION in one.aliases and one.model_id}
    return found
