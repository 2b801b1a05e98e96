"""``d2n promote``: the data set's best generator, compared with the champion on test images, registered."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from d2n import promotion
from d2n.config import PromotionConfig
from d2n.errors import D2NError
from d2n.tracking import names, records, registry, runs
from d2n.translators.alarms import MEANINGS
from d2n.workflows import generators
from d2n.workflows.promote import field, retraining, standing
from d2n.workflows.promote.deciding import Champion, Deciding
from d2n.workflows.promote.field import Entry, Field
from d2n.workflows.promote.measuring import row_of
from d2n.workflows.promote.registering import (
    ChampionMovedError,
    Promotion,
    record_kept,
    register_winner,
)
from d2n.workflows.promote.scoring import (
    log_scores_elsewhere,
    log_test_scores,
    run_experiment,
    split_evaluator,
)

if TYPE_CHECKING:
    from d2n.tracking.runs import Store

__all__ = [
    "Promotion",
    "check_rule",
    "log_scores_elsewhere",
    "log_test_scores",
    "promote",
    "promote_command",
    "run_experiment",
    "split_evaluator",
]

logger = logging.getLogger(__name__)
_USUAL = PromotionConfig()
_ROUNDS = 5  # of deciding, where other promotions move the champion meanwhile


def promote_command(
    dataset: str,
    *,
    rule: PromotionConfig,
    tracking_uri: str | None,
    dry_run: bool,
    protocol: str | None,
    progress: bool = False,
) -> list[str]:
    """The decision in words."""
    check_rule(rule)
    store = runs.open_store(tracking_uri)
    done = promote(dataset, store=store, rule=rule, dry_run=dry_run, protocol=protocol, progress=progress)
    lines = list(done.decision.reasons)
    if done.decision.promote and done.version is not None:
        lines.append(f"registered {done.model_name} version {done.version.version}, alias {names.CHAMPION}")
        lines.append(f"use it: d2n translate {done.model_name}@{names.CHAMPION} IN_DIR OUT_DIR")
        if (back := done.way_back) is not None:
            lines.append(
                f"registered its way back: {back.name} version {back.version}, alias {names.WAY_BACK}"
            )
    elif dry_run:
        lines.append("dry run: nothing was registered")
    return lines


def check_rule(rule: PromotionConfig) -> None:
    """D2NError in one line for metrics, bounds and alarms that there are none of."""
    for metric in promotion.parse_metrics(rule.metric):
        if not metric.is_map:
            row_of(metric.name)
    for bound in promotion.parse_constraints(rule.constraints):
        if not bound.name.startswith("map/"):
            row_of(bound.name)
    strange = sorted(set(rule.refuse_alarms) - set(MEANINGS))
    if strange:
        raise D2NError(f"refuse_alarms names {strange[0]!r}, expected some of {', '.join(MEANINGS)}")


def promote(
    dataset: str,
    *,
    store: Store,
    rule: PromotionConfig = _USUAL,
    dry_run: bool = False,
    protocol: str | None = None,
    progress: bool = False,
) -> Promotion:
    """Decide between the best settings by validation and the current champion, on test images.

    ``protocol`` keeps to runs scored under that identity. Raises ProtocolMismatchError when the runs were scored
    under different ones, D2NError when there is none.
    """
    check_rule(rule)
    for left in reversed(range(_ROUNDS)):
        try:
            return _promote_once(dataset, store, rule, dry_run=dry_run, protocol=protocol, progress=progress)
        except ChampionMovedError as error:
            if not left:
                raise
            logger.warning("%s; deciding again", error)
    raise AssertionError("unreachable")


def _promote_once(
    dataset: str,
    store: Store,
    rule: PromotionConfig,
    *,
    dry_run: bool,
    protocol: str | None,
    progress: bool,
) -> Promotion:
    dataset, direction = field.named(store, dataset)
    direction = direction or (rule.source, rule.target)
    model_name = names.generator_model(dataset, *direction)
    registry.refuse_other_origin(store, model_name, dataset, *direction)
    vetoed = registry.vetoed(store, model_name)
    found = field.gather(store, dataset, protocol, rule.refuse_alarms, vetoed, direction)
    champion = _champion(store, model_name, found)
    chosen = _chosen(store, dataset, rule, found, champion, dry_run=dry_run, progress=progress)
    own = champion.entries[0].setting if champion else ""
    if champion is not None:
        seeds = field.with_seeds_of(champion.entries[0], [e for e in chosen if e.setting == own])
        champion = Champion(champion.name, tuple(seeds))
    others = [entry for entry in chosen if entry.setting != own]
    if champion is None and not others:
        raise D2NError(promotion.nobody(found.left_out, dataset))
    deciding = Deciding(store, dataset, rule, others, champion)
    deciding.left_out += found.left_out
    deciding.notes += found.notes
    decision = deciding.decide()
    if dry_run:
        return Promotion(decision, None, model_name)
    if decision.promote:
        return register_winner(store, dataset, model_name, decision)
    if champion is not None:  # one of an earlier release gets an archive of today
        with registry.exclusive(store, model_name):
            generators.reseal(store, registry.resolve(store, champion.name))
    return record_kept(store, dataset, model_name, decision)


def _chosen(
    store: Store,
    dataset: str,
    rule: PromotionConfig,
    found: Field,
    champion: Champion | None,
    *,
    dry_run: bool,
    progress: bool,
) -> list[Entry]:
    """The seeds of the best settings by validation and of the champion's, with the missing ones trained."""
    own = champion.entries[0].setting if champion else ""
    groups = found.settings()
    if champion is not None:
        groups[own] = field.with_seeds_of(champion.entries[0], groups.get(own, []))
    chosen = {key: groups[key] for key in [*found.best(rule.settings, besides=own), *([own] if own else [])]}
    lacking = {key: retraining.missing(group, rule.seeds) for key, group in chosen.items()}
    count = sum(map(len, lacking.values()))
    if count and (not rule.retrain or dry_run):
        why = "with --dry-run nothing is trained" if dry_run and rule.retrain else "nothing was retrained"
        found.notes.append(
            f"{why}: {count} seeds are missing of {rule.seeds} a setting, so a lucky seed may stand for its setting"
        )
        return [entry for group in chosen.values() for entry in group]
    for key, group in chosen.items():
        _train(store, dataset, rule, found, group, lacking[key], progress=progress)
    return [entry for group in chosen.values() for entry in group]


def _train(
    store: Store,
    dataset: str,
    rule: PromotionConfig,
    found: Field,
    group: list[Entry],
    seeds: Sequence[int],
    *,
    progress: bool,
) -> None:
    """Add the entries of the missing seeds to a setting's."""
    if not seeds:
        return
    trained, notes = retraining.retrain(store, dataset, group, seeds, progress=progress)
    found.notes += notes
    for record in trained:
        entry = replace(field.entry_of(record), setting=group[0].setting)
        raised, _ = field.alarms(store, record)
        refused = [name for name in raised if name in rule.refuse_alarms]
        if refused:
            found.leave_out(record, f"alarm at its checkpoint: {', '.join(refused)}")
        else:
            group.append(entry)


def _champion(store: Store, model_name: str, found: Field) -> Champion | None:
    """The version under the alias; None, with a note, where it is vetoed or its files or its run are gone."""
    version = standing.champion(store, model_name)
    if version is None:
        return None
    label = f"{model_name}/{version.version}"
    problem = standing.cannot_stay(store, version)
    if problem:
        found.notes.append(f"the champion {label} cannot stay: {problem}")
        if version.run_id:
            found.entries = [e for e in found.entries if e.record.run_id != version.run_id]
        return None
    generators.require_sound(store, version)
    record = store.get(version.run_id)
    try:
        return Champion(label, (field.entry_of(record),))
    except records.UnreadableError as error:
        found.leave_out(record, str(error))
        found.notes.append(f"the champion {label} cannot be compared: {error}")
        raise
