"""The note above a run in MLflow's pages: what it is, what it found, and where it belongs; in Markdown, one sentence.

d2n writes its own part anew; what a team writes around it stays, and so does the lineage below it (see links).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from d2n.errors import TrackingError
from d2n.tracking import names, records, uses
from d2n.tracking.landing import is_noted, plain, within
from d2n.tracking.runs import RunRecord, Store


def write(store: Store, record: RunRecord, text: str) -> None:
    """Put the note on the run."""
    former = record.tags.get(names.NOTE, "")
    noted = within(former, f"{text}\n") if is_noted(former) else within("", f"{text}\n") + former
    store.call(store.client.set_tag, record.run_id, names.NOTE, noted)


def of_trial(record: RunRecord, state: str, objective: str) -> str:
    """Which trial of which study, how it ended, and its objective ± its deviation."""
    parent, study = record.parent_run, plain(record.study)
    where = f"[{study}]({names.run_page(record.experiment_id, parent)})" if parent else study
    found = _score(record, objective)
    return f"Trial {record.trial} of {where}, {state.lower()}{f': {found}' if found else ''}."


def of_translation(record: RunRecord) -> str:
    """Which generator of which data it trained, and what that scores ± its deviation."""
    what = " on ".join(
        plain(record.tags[tag]) for tag in (names.METHOD, names.DATASET) if record.tags.get(tag)
    )
    seed = f", seed {record.seed}" if record.seed else ""
    try:
        best = records.best_score(record)
    except TrackingError:  # edited by hand
        best = None
    found = _score(record, best.name) if best is not None else ""
    return f"{what or 'A generator'}{seed}{f': {found}' if found else ''}."


def of_study(name: str, counts: str, leaders: Sequence[str], lead: str) -> str:
    """How many trials ended how, the best of them (see `leader`), and whether it leads by more than noise."""
    lines = [f"**{plain(name)}**: {counts}.", *(f"- {one}" for one in leaders), "", lead]
    return "\n".join(lines).rstrip()


def leader(number: int, values: str, experiment_id: str, run_id: str) -> str:
    """A study's best trial as a link to its run: ``best: trial 3, fid 12.34``."""
    told = f"trial {number}"
    link = f"[{told}]({names.run_page(experiment_id, run_id)})" if run_id else told
    return f"best: {link}, {plain(values)}"


def sheet(record: RunRecord) -> str:
    """The day photographs over their nights, as a picture below the sentence; '' before there is a generator."""
    if not record.logged_model or record.kind != "translation":
        return ""
    place = f"get-artifact?path={quote(names.SAMPLE_SHEET, safe='')}&run_uuid={record.run_id}"
    return f"\n\n![day photographs over their nights]({place})"


def of_retrieval(record: RunRecord) -> str:
    """The mAP of every benchmark ± its deviation over seeds, and whose nights it was trained with."""
    spread = records.of_kind(record.metrics, "map_std")
    told = [
        f"mAP {plain(name)} {100 * value:.4g}" + (f" ± {100 * spread[name]:.2g}" if spread.get(name) else "")
        for name, value in sorted(records.of_kind(record.metrics, "map").items())
    ]
    model, version = (record.tags.get(tag, "") for tag in (names.GENERATOR_NAME, names.GENERATOR_VERSION))
    arm = record.tags.get(names.ARM, "none")
    how = "without night augmentation" if arm == "none" else f"with {plain(arm)} augmentation"
    if model:
        used = [one for one in uses.generators_of(uses.read(record.run_id, record.tags)) if one.version]
        versions = [_version(one.name, one.version) for one in used] or [_version(model, version)]
        how = f"with the nights of {', '.join(versions)}{', one a seed in turn' if len(versions) > 1 else ''}"
    return f"Trained {how}: {', '.join(told)} %." if told else f"Trained {how}."


def _version(model: str, version: str) -> str:
    return f"[{plain(model)} version {version}](#/models/{model}/versions/{version})"


def _score(record: RunRecord, objective: str) -> str:
    """``fid 23.45 ± 1.2``; '' where the run has no such score."""
    known, spread = (records.of_kind(record.metrics, kind) for kind in ("score", "score_std"))
    name = next((key for key in known if objective in (key, key.split(".")[0])), None)
    if name is not None:
        value, std = known[name], spread.get(name)
    elif objective in record.metrics:  # mAP is logged under its own name, as a share
        value, std = record.metrics[objective], record.metrics.get(f"map_std/{objective[4:]}")
    else:
        return ""
    return f"{plain(objective)} {value:.4g}" + (f" ± {std:.2g}" if std else "")
