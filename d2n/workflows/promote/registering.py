"""Registers the winner of a promotion with all of its seeds, one promotion at a time, and moves the aliases.

In this order: versions, the promotion's own run (closed), the move written down as intended, aliases of the seeds
and of the former champion, the champion's, the move done. Whatever is killed in between, the next promotion or
``d2n doctor --mend`` ends it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from d2n import promotion
from d2n.errors import RegistryError, TrackingError
from d2n.tracking import history, landing, links, names, registry, run_health
from d2n.workflows import card, generators
from d2n.workflows.promote import field, standing, way_back

if TYPE_CHECKING:
    from d2n.promotion import Candidate, Decision
    from d2n.tracking.registry import RegisteredVersion
    from d2n.tracking.runs import Store

logger = logging.getLogger(__name__)


class ChampionMovedError(RegistryError):
    """Another promotion moved the alias while this one decided: decide again."""


@dataclass(frozen=True)
class Promotion:
    """What was decided and what came of it."""

    decision: promotion.Decision
    version: registry.RegisteredVersion | None  # None: nothing registered
    model_name: str
    run_id: str = ""
    way_back: registry.RegisteredVersion | None = None  # the generator of the other direction


def register_winner(store: Store, dataset: str, model_name: str, decision: promotion.Decision) -> Promotion:
    """The winner under the champion's alias, its other seeds under theirs, each compared with its trained network.

    ChampionMovedError where the champion is another than the one decided against. Where the champion's files are gone
    and the winner does not load either, the next of the ranking that does is taken.
    """
    registry.create_model(store, model_name)
    with registry.exclusive(store, model_name) as held:
        repair(store, dataset, model_name)
        now = standing.champion(store, model_name)
        if now is not None and now.run_id == decision.winner.run_id and not standing.cannot_stay(store, now):
            return Promotion(decision, now, model_name)  # another promotion was first, and found the same
        _refuse_other_champion(store, model_name, decision, now)
        winner, version, words = _first_that_loads(store, dataset, model_name, decision, now)
        seeds = _register_seeds(store, dataset, model_name, decision, winner, version)
        run_id = _log_decision(store, dataset, model_name, decision, version.version, words)
        held.require()
        history.move(
            store,
            model_name,
            _aliases(store, model_name, version, seeds),
            main=names.CHAMPION,
            reason=words[-1],
            by="promote",
            run_id=run_id,
        )
    registry.describe(store, version, card.card(store, version, decision))
    links.describe_version(store, version)  # its lineage below the card
    _refresh_landing(store, dataset)
    version = registry.resolve(store, f"{model_name}/{version.version}")
    back = way_back.register_way_back(store, dataset, version)
    return Promotion(decision, version, model_name, run_id, back)


def record_kept(store: Store, dataset: str, model_name: str, decision: promotion.Decision) -> Promotion:
    """A decision to keep: in a run of its own and in the model's history; ChampionMovedError as above."""
    with registry.exclusive(store, model_name):
        repair(store, dataset, model_name)
        now = standing.champion(store, model_name)
        _refuse_other_champion(store, model_name, decision, now)
        version = now.version if now is not None else ""
        run_id = _log_decision(store, dataset, model_name, decision, version, decision.reasons)
        history.record_kept(store, model_name, version, decision.reasons[-1], run_id)
    return Promotion(decision, None, model_name, run_id)


def _refresh_landing(store: Store, dataset: str) -> None:
    """The experiment's note names the new champion; a promotion does not fail for want of it."""
    try:
        landing.refresh(store, names.experiment(dataset))
    except TrackingError as error:
        logger.warning("the experiment's note is not refreshed: %s", error)


def repair(store: Store, dataset: str, model_name: str) -> None:
    """What promotions that were killed left: moves half-made, runs that nobody closes."""
    for line in history.settle(store, model_name):
        logger.warning("%s", line)
    tags = {names.KIND: "promotion", names.DATASET: dataset}
    for run in store.find_runs(experiment=names.experiment(dataset), tags=tags, status="RUNNING"):
        if run_health.is_orphan(store, run):
            logger.warning("%s", run_health.close_orphan(store, run.run_id))


def _refuse_other_champion(
    store: Store, model_name: str, decision: Decision, now: RegisteredVersion | None
) -> None:
    thought = decision.champion.run_id if decision.champion is not None else None
    if thought == (now.run_id if now is not None else None):
        return
    if thought is None and now is not None and standing.cannot_stay(store, now):
        return  # decided without it
    is_now = f"{now.name} version {now.version}" if now is not None else "none"
    raise ChampionMovedError(
        f"the champion of {model_name} is {is_now}, and was {decision.champion.label if decision.champion else 'none'} "
        "when this was decided: run `d2n promote` again"
    )


def _first_that_loads(
    store: Store,
    dataset: str,
    model_name: str,
    decision: Decision,
    now: RegisteredVersion | None,
) -> tuple[Candidate, RegisteredVersion, tuple[str, ...]]:
    """The winner registered, or where nothing else stands the next of the ranking; and the reasons, with that said."""
    vetoes = registry.vetoed(store, model_name)
    passed: list[str] = []
    others = [one for one in decision.ranking if one.run_id != decision.winner.run_id]
    for candidate in (decision.winner, *others):
        try:
            if candidate.run_id in vetoes:
                raise RegistryError(f"{candidate.label} was vetoed: {vetoes[candidate.run_id]}")
            version = _register(store, dataset, model_name, candidate, "\n".join(decision.reasons))
        except TrackingError as error:
            if not isinstance(error, RegistryError) or decision.champion is not None:
                raise
            passed.append(f"passed over: {candidate.label}: {error}")
            logger.warning("%s", passed[-1])
            continue
        if not passed:
            return candidate, version, decision.reasons
        gone = f"{now.name}/{now.version} cannot stay" if now is not None else "there is no champion"
        words = f"promoted: {candidate.label}, the best that loads; {gone}"
        return candidate, version, (*decision.reasons[:-1], *passed, words)
    raise RegistryError(f"none of the candidates of {dataset} can be registered: {'; '.join(passed)}")


def _register(
    store: Store, dataset: str, model_name: str, candidate: Candidate, text: str
) -> RegisteredVersion:
    """A version of a candidate, compared with its trained network; nothing is registered of one that does not load."""
    lacking = registry.lacking_model_files(store, candidate.model_id)
    if lacking:
        raise RegistryError(f"{candidate.label} does not load: {lacking}")
    model_id = generators.renewed(store, candidate.run_id, candidate.model_id)  # one that takes [0, 1]
    generator = generators.load(candidate.run_id, store)
    registry.check_model(store, model_id, generator.translate_array)
    protocol = candidate.score.protocol
    seed = _seed(store, candidate)
    source, target = field.direction_of(store.get(candidate.run_id))
    registry.refuse_other_origin(store, model_name, dataset, source, target)
    return registry.register(
        store,
        model_name=model_name,
        run_id=candidate.run_id,
        model_id=model_id,
        tags={
            names.DATASET: dataset,
            names.DATASET_DIGEST: candidate.dataset_digest,
            names.SOURCE: source,
            names.TARGET: target,
            names.METHOD: candidate.method,
            names.PROTOCOL: protocol.identity if protocol else "",
            names.test_score(candidate.score.name): f"{candidate.score.value:.6g}",
            **({names.SEED: str(seed)} if seed is not None else {}),
        },
        description=text,
    )


def _register_seeds(
    store: Store,
    dataset: str,
    model_name: str,
    decision: Decision,
    winner: Candidate,
    version: RegisteredVersion,
) -> dict[int, str]:
    """Seed → version: of the winner and of every other seed of its setting; one that does not load is left out."""
    each: Sequence[Candidate] = decision.seeds if winner == decision.winner else ()
    vetoes = registry.vetoed(store, model_name)
    found: dict[int, str] = {}
    for candidate in (winner, *(one for one in each if one.run_id != winner.run_id)):
        seed = _seed(store, candidate)
        if seed is None or seed in found or candidate.run_id in vetoes:
            continue
        try:
            one = (
                version
                if candidate.run_id == winner.run_id
                else _register(store, dataset, model_name, candidate, f"seed {seed} of {winner.label}")
            )
        except RegistryError as error:
            logger.warning("seed %d is left out: %s", seed, error)
            continue
        found[seed] = one.version
    return found


def _aliases(
    store: Store, model_name: str, version: RegisteredVersion, seeds: dict[int, str]
) -> dict[str, str]:
    """Where every alias of the champion goes: those of seeds that it has not are taken away."""
    now = registry.list_aliases(store, model_name)
    moves = {alias: "" for alias in now if names.is_seed_alias(alias)}
    moves |= {names.seed_alias(seed): number for seed, number in seeds.items()}
    former = now.get(names.CHAMPION)
    if former and former != version.version:
        moves[names.PREVIOUS] = former
    return {**moves, names.CHAMPION: version.version}


def _seed(store: Store, candidate: Candidate) -> int | None:
    if candidate.seed is not None:
        return candidate.seed
    text = store.get(candidate.run_id).seed
    return int(text) if text.isdecimal() and len(text) < 19 else None


def _log_decision(
    store: Store, dataset: str, model_name: str, decision: Decision, version: str, words: Sequence[str]
) -> str:
    """The promotion's own run, closed before an alias moves: none stays open whatever is killed later."""
    verdict = "promoted" if decision.promote else "kept"
    score = decision.winner.score
    with store.start_run(
        names.experiment(dataset),
        f"promotion of {model_name} {version}".strip()
        if decision.promote
        else f"{model_name} {version} kept",
        tags={
            names.KIND: "promotion",
            names.DATASET: dataset,
            names.PROMOTED_MODEL: model_name,
            names.NOTE: links.promotion_note(model_name, version, words),
        },
        params={
            "model": model_name,
            "version": version,
            "run_id": decision.winner.run_id,
            "verdict": verdict,
        },
    ) as run:
        run.log_text("\n".join(words) + "\n", "promotion.txt")
        run.log_text(decision.to_json(), names.DECISION)
        run.log_metrics({names.test_score(score.name): score.value})
        run.close("FINISHED")
    return run.run_id
