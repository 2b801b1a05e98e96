"""Registers the winner of a promotion, moves the alias and records both in a run of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from d2n import promotion
from d2n.tracking import names, registry
from d2n.workflows import card, generators

if TYPE_CHECKING:
    from d2n.tracking.runs import Store


@dataclass(frozen=True)
class Promotion:
    """What was decided and what came of it."""

    decision: promotion.Decision
    version: registry.RegisteredVersion | None  # None: nothing registered
    model_name: str
    run_id: str = ""


def register_winner(store: Store, dataset: str, model_name: str, decision: promotion.Decision) -> Promotion:
    """The winner as a version of the model, under the champion's alias; compared with the trained network first."""
    winner = decision.winner
    text = "\n".join(decision.reasons)
    model_id = generators.renewed(
        store, winner.run_id, winner.model_id
    )  # one that takes [0, 1], if it is older
    generator = generators.load(winner.run_id, store)
    protocol = winner.score.protocol
    version = registry.register(
        store,
        model_name=model_name,
        run_id=winner.run_id,
        model_id=model_id,
        tags={
            names.DATASET: dataset,
            names.DATASET_DIGEST: winner.dataset_digest,
            names.METHOD: winner.method,
            names.PROTOCOL: protocol.identity if protocol else "",
            names.test_score(winner.score.name): f"{winner.score.value:.6g}",
        },
        description=text,
    )
    registry.set_alias(
        store,
        model_name,
        names.CHAMPION,
        version.version,
        reason=decision.reasons[-1],
        eager=generator.translate_array,
    )
    version = registry.resolve(store, version.reference)
    registry.describe(store, version, card.card(store, version, decision))
    with store.start_run(
        names.experiment(dataset),
        f"promotion of {model_name} {version.version}",
        tags={names.KIND: "promotion", names.DATASET: dataset},
        params={"model": model_name, "version": version.version, "run_id": winner.run_id},
    ) as run:
        run.log_text(text + "\n", "promotion.txt")
        run.log_metrics({names.test_score(winner.score.name): winner.score.value})
        run.close("FINISHED")
    return Promotion(decision, version, model_name, run.run_id)
