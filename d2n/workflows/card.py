"""The card of a registered generator: Markdown for the registry, for the pulled folder and for the UI."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from d2n.datasets import SETS
from d2n.errors import D2NError, TrackingError
from d2n.tracking import artifacts, fitting, names, records
from d2n.translators.alarms import MEANINGS

if TYPE_CHECKING:
    from d2n.promotion import Decision
    from d2n.tracking.registry import RegisteredVersion
    from d2n.tracking.runs import RunRecord, Store

_SHOWN_KNOBS = 16
_RANGES = {
    names.UNIT_RANGE: (
        "float32 in [0, 1] or uint8, (N, 3, H, W), any N, any side from 16 pixels, to float32 in [0, 1] of that size; "
        "on the CPU"
    ),
    names.SIGNED_RANGE: (
        "float32 in [-1, 1], (N, 3, H, W), to the same of that size: a version of an earlier release "
        "(`d2n.load_generator` takes [0, 1] and uint8 all the same)"
    ),
}
_LIMITS = (
    "It was trained on the photographs named above: other cameras, places, weather and sizes may come out worse.",
    "Its nights are made up: no lamp, sign or face in them is evidence of anything.",
    "Scores compare only under the same protocol.",
)


def card(store: Store, version: RegisteredVersion, decision: Decision | None = None) -> str:
    """Markdown of at most 5000 characters: data, knobs, decision, scores, alarms, input, limits and licences.

    Without `decision` its sentences are those of the version's description. What the store no longer knows is said.
    """
    record = _record(store, version)
    parts = [
        f"# {version.name}, version {version.version}\n",
        f"A generator that turns photographs {_direction(version)} (d2n).\n",
        _section("Use", _use(version)),
        _section("Data", _data(store, version, record)),
        _section("Scores", _scores(version, record)),
        _section("Decision", _decision(version, decision)),
        _section("Alarms", [_alarms(record)]),
        _section("Training", _training(version, record)),
        _section("Samples", [_samples(store, record)]),
        _section("Limits", list(_LIMITS)),
        _section("Licences", _licences(version)),
    ]
    return fitting.fitted("".join(parts), fitting.LONGEST)


def is_card(text: str) -> bool:
    """Whether a version's description is such a card already."""
    return text.startswith("# ") and "\n## Licences\n" in text


def _direction(version: RegisteredVersion) -> str:
    source, target = version.domains
    if (source, target) == ("day", "night"):
        return "by day into the same by night"
    return f"of {source} into the same of {target}"


def _section(title: str, lines: Iterable[str]) -> str:
    body = [line if line.startswith(("```", "    ", "|")) else f"- {line}" for line in lines if line]
    return "\n".join([f"\n## {title}\n", *body, ""]) if body else ""


def _record(store: Store, version: RegisteredVersion) -> RunRecord | None:
    try:
        return store.get(version.run_id) if version.run_id else None
    except TrackingError:
        return None


def _use(version: RegisteredVersion) -> list[str]:
    taken = version.tags.get(names.INPUT_RANGE, names.SIGNED_RANGE)
    return [
        f"input: {_RANGES.get(taken, taken)}",
        "with mlflow and torch alone, from the folder that `d2n pull` wrote:",
        "",
        "    import mlflow.pytorch",
        "    generator = mlflow.pytorch.load_model('FOLDER')",
        "    night = generator(photographs)  # (N, 3, H, W)",
        "",
        f"with d2n: `d2n translate {version.name}/{version.version} IN OUT`, or "
        f"`d2n.load_generator('{version.name}/{version.version}')`",
    ]


def _data(store: Store, version: RegisteredVersion, record: RunRecord | None) -> list[str]:
    dataset, digest = version.dataset or "?", version.dataset_digest or "?"
    kind = SETS.get(dataset)
    lines = [f"{dataset}{f' ({kind.title})' if kind else ''}, digest `{digest}`"]
    if record is None:
        return [*lines, f"its run {version.run_id or ''} is no longer in the store"]
    try:
        known = artifacts.read_datasets(store, record.run_id).get("training", {})
    except D2NError:
        known = {}
    counts = known.get("counts")
    if isinstance(counts, Mapping) and counts:
        lines.append("images: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    if known.get("rule"):
        lines.append(f"rule: {str(known['rule'])[:300]}")
    return lines


def _scores(version: RegisteredVersion, record: RunRecord | None) -> list[str]:
    if undone := version.tags.get(names.WAY_BACK_OF):
        return [f"none of its own: it was trained as the way back of {undone}"]
    lines = []
    saved = _json(record.tags.get(names.TEST_SCORE, "")) if record else {}
    if saved:
        lines.append(f"test split: {score_text(saved)}")
    elif record is None:
        start = names.test_score("")[:5]
        lines += [f"{key}: {value}" for key, value in sorted(version.tags.items()) if key.startswith(start)]
    if record is not None:
        others = sorted((k, v) for k, v in record.metrics.items() if k.startswith("test/"))
        named = [f"{key.removeprefix('test/')} {value:.4g}" for key, value in others]
        if len(named) > 1:
            lines.append(f"all on the test split: {', '.join(named)}")
        best = _json(record.tags.get(names.BEST_SCORE, ""))
        if best:
            lines.append(f"validation, by which the checkpoint was chosen: {score_text(best)}")
        lines.append(_protocol(record))
    return lines


def score_text(saved: Mapping[str, Any]) -> str:
    """A score with its interval and its floor, as far as they are known."""
    text = f"{saved.get('name', 'score')} = {_number(saved.get('value'))}"
    interval = saved.get("interval")
    if isinstance(interval, list | tuple) and len(interval) == 2:
        text += f" (95 % interval {_number(interval[0])} to {_number(interval[1])})"
    if saved.get("floor") is not None:
        text += f"; real against real {_number(saved['floor'])}"
    return text


def _protocol(record: RunRecord) -> str:
    try:
        found = records.protocol(record, names.TEST_PROTOCOL_TEXT) or records.protocol(record)
    except D2NError:
        return ""
    if found is None:
        return ""
    return (
        f"protocol `{found.identity}`: extractor {found.extractor}, {found.resize}, {found.num_images} images a side, "
        f"reference `{found.reference_digest[:16]}`"
    )


def _decision(version: RegisteredVersion, decision: Decision | None) -> list[str]:
    if decision is not None:
        return [_line(reason) for reason in decision.reasons]
    return [] if is_card(version.description) else [_line(line) for line in version.description.splitlines()]


def _alarms(record: RunRecord | None) -> str:
    raised = record.alarms if record else ""
    if record is None:
        return "not known: its run is no longer in the store"
    if not raised:
        return "none was raised in training"
    meant = "; ".join(f"{name}: {meaning}" for name, meaning in MEANINGS.items() if name in raised)
    return f"raised in training, last: {_line(raised)} ({meant})"


def _training(version: RegisteredVersion, record: RunRecord | None) -> list[str]:
    lines = [f"method {version.method or '?'}, run `{version.run_id}`"]
    if record is None:
        return lines
    tags = record.tags
    known = (
        (names.STUDY, "study"),
        (names.TRIAL, "trial"),
        (names.SEED, "seed"),
        (names.CODE_COMMIT, "commit of d2n"),
    )
    lines += [", ".join(f"{word} {_line(tags[tag])}" for tag, word in known if tags.get(tag))]
    knobs = {
        key.removeprefix("translator.").removeprefix("training."): value
        for key, value in sorted(record.params.items())
        if key.startswith(("translator.", "training."))
    }
    shown = list(knobs.items())
    lines += [
        ", ".join(f"{key} {value}" for key, value in shown[at : at + _SHOWN_KNOBS])
        for at in range(0, len(shown), _SHOWN_KNOBS)
    ]
    return lines


def _samples(store: Store, record: RunRecord | None) -> str:
    if record is None:
        return ""
    place = f"#/experiments/{store.experiment_id(record.experiment)}/runs/{record.run_id}/artifacts"
    return f"day over night: `{names.SAMPLE_SHEET}` of [the run]({place}), and in the folder that `d2n pull` writes"


def _licences(version: RegisteredVersion) -> list[str]:
    kind = SETS.get(version.dataset)
    if kind is None or not kind.ask_at:
        data = "data: the photographs' own terms hold for what was learned from them; ask who took them"
    elif kind.make is not None:
        data = f"data: rendered by d2n ({kind.ask_at}), Apache-2.0"
    else:
        data = f"data: its own terms, at {kind.ask_at}; they hold for what was learned from it"
    return ["code: d2n, Apache-2.0", data]


def _json(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "unknown"
    return f"{value:.4g}"


def _line(text: str) -> str:
    return " ".join(text.split())
