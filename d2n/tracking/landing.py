"""What the MLflow UI shows first of an experiment: a note above its runs, and views with the columns that matter.

Both are tags that MLflow's pages read: ``mlflow.note.content`` (Markdown) and ``mlflow.sharedViewState.KEY`` (JSON).
They are written anew by ``d2n ui`` and after each promotion, so that what they tell is of now.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from d2n.errors import TrackingError
from d2n.scores import direction_of
from d2n.tracking import charts, names, records, registry
from d2n.tracking.runs import RunRecord, Store

_NUM_COLUMNS = 4  # of each kind; more are a click away under Columns
_NUM_STUDIES = 8
_LONGEST_STATE = 4000  # characters of plain JSON
_PACKED = "deflate;"
_PICTURED = ("d2n-leaderboard", "d2n-studies")
_BEGIN, _END = "<!-- d2n -->", "<!-- /d2n -->"  # what a team writes around them stays
_RUNS = "#/experiments/{id}/runs?workflowType=machine_learning"
_LEGEND = {
    "translation": ("generator", "generators"),
    "retrieval": ("retrieval network", "retrieval networks"),
    "study": ("study", "studies"),
    "promotion": ("promotion", "promotions"),
}


@dataclass(frozen=True)
class View:
    """A saved view of an experiment's runs."""

    key: str
    title: str
    filter: str
    columns: tuple[str, ...]
    order_by: str
    ascending: bool
    metrics: tuple[str, ...] = ()  # of its runs: what there are charts of


def refresh(store: Store, experiment: str) -> str:
    """Write the note and the views of an experiment; the address, below the server's, of its first view.

    An experiment without runs of d2n is left as it is. TrackingError where there is no such experiment.
    """
    found = store.call(store.client.get_experiment_by_name, experiment)
    if found is None:
        raise TrackingError(f"no experiment {experiment!r} in {store.display_uri}")
    runs = [run for run in store.find_runs(experiment=experiment) if names.KIND in run.tags]
    page = _RUNS.format(id=found.experiment_id)
    if not runs:
        return page
    chosen = views(runs)
    for view in chosen:
        tag = names.shared_view(view.key)
        store.call(store.client.set_experiment_tag, found.experiment_id, tag, packed(_state(view)))
    text = note(runs, chosen, found.experiment_id, _champions(store, runs))
    text = within(found.tags.get(names.NOTE, ""), text)
    store.call(store.client.set_experiment_tag, found.experiment_id, names.NOTE, text)
    return f"{page}&viewStateShareKey={chosen[0].key}" if chosen else page


def refresh_all(store: Store) -> str:
    """The same for every experiment of d2n; the address of the one with the newest run, or of the list."""
    newest: tuple[float, str] = (0.0, "#/experiments?workflowType=machine_learning")
    for experiment in store.experiments(names.experiment("")):
        page = refresh(store, experiment)
        last = store.find_runs(experiment=experiment, max_results=1)
        if last and last[0].start_time.timestamp() > newest[0]:
            newest = (last[0].start_time.timestamp(), page)
    return newest[1]


def views(runs: Sequence[RunRecord]) -> list[View]:
    """Leaderboard (generators by score), studies and mAP: those that these runs have something for."""
    by_kind = _by_kind(runs)
    found = []
    scores = _leading(by_kind.get("translation", []), "score/", _scored(by_kind.get("translation", [])))
    if scores:
        base = scores[0].removeprefix("score/")
        knobs = ("translator.method", "translator.lr", "seed")
        columns = (
            *(f"metrics.`{name}`" for name in scores),
            *(f"params.`{name}`" for name in knobs),
            f"tags.`{names.STUDY}`",
            f"tags.`{names.ALARMS}`",
            "attributes.`Duration`",
        )
        ascending = direction_of(base) != "maximize"
        logged = _logged(by_kind["translation"])
        found.append(
            View(
                "d2n-leaderboard", "Leaderboard", _kind("translation"), columns, scores[0], ascending, logged
            )
        )
        searched = _leading(by_kind["translation"], "search/", ())
        if searched:
            columns = (
                f"tags.`{names.STUDY}`",
                f"tags.`{names.TRIAL}`",
                f"tags.`{names.TRIAL_STATE}`",
                f"metrics.`{scores[0]}`",
                *(f"metrics.`{name}`" for name in _leading(by_kind.get("study", []), "best/", ())[:1]),
                *(f"metrics.`{name}`" for name in searched),
            )
            found.append(View("d2n-studies", "Studies", "", columns, scores[0], ascending, logged))
    maps = _leading(by_kind.get("retrieval", []), "map/", ())
    if maps:
        columns = (
            *(f"metrics.`{name}`" for name in maps),
            f"tags.`{names.ARM}`",
            f"tags.`{names.GENERATOR_NAME}`",
            f"tags.`{names.GENERATOR_VERSION}`",
        )
        night = next((name for name in maps if name.endswith("/night")), maps[0])
        logged = _logged(by_kind["retrieval"])
        found.append(View("d2n-map", "By mAP", _kind("retrieval"), columns, night, False, logged))
    return found


def note(
    runs: Sequence[RunRecord], chosen: Sequence[View], experiment_id: str, champions: Sequence[str]
) -> str:
    """Markdown: what is in the experiment, its champions, its views, its studies."""
    counts = Counter(_kinds(runs))
    told = [
        f"{counts[kind]} {word if counts[kind] == 1 else plural}"
        for kind, (word, plural) in _LEGEND.items()
        if counts[kind]
    ]
    page = _RUNS.format(id=experiment_id)
    leading = " ".join(champions) or "No champion yet: `d2n promote` registers one."
    lines = [f"{leading} {', '.join(told)}.", ""]  # the page shows this line alone until it is opened
    links = [f"[{view.title}]({page}&viewStateShareKey={view.key})" for view in chosen]
    if links:
        lines += [f"Views: {' · '.join(links)}", ""]
    studies = [run for run in runs if run.kind == "study"][:_NUM_STUDIES]
    if studies:
        each = [f"[{plain(run.name)}]({names.run_page(experiment_id, run.run_id)})" for run in studies]
        lines += [f"Studies: {' · '.join(each)}", ""]
    return "\n".join(lines).rstrip() + "\n"


def packed(state: Mapping[str, Any]) -> str:
    """A view's state as MLflow's pages read it: JSON, and what is long for a tag as they pack it themselves."""
    text = json.dumps(state)
    if len(text) <= _LONGEST_STATE:
        return text
    return f"{_PACKED}{base64.b64encode(zlib.compress(text.encode(), 9)).decode()}"


def unpacked(text: str) -> dict[str, Any]:
    """The state again."""
    if text.startswith(_PACKED):
        text = zlib.decompress(base64.b64decode(text.removeprefix(_PACKED))).decode()
    state: dict[str, Any] = json.loads(text)
    return state


def within(former: str, text: str) -> str:
    """The note with d2n's part anew and everything else as it was."""
    before, begun, rest = former.partition(_BEGIN)
    _, ended, after = rest.partition(_END)
    if not (begun and ended):
        before, after = former.rstrip() + "\n\n" if former.strip() else "", "\n"
    return f"{before}{_BEGIN}\n{text}{_END}{after}"


def is_noted(text: str) -> bool:
    """Whether a note holds d2n's part already."""
    return _BEGIN in text and _END in text


def plain(text: str) -> str:
    """A name inside Markdown: nothing in it is markup."""
    return "".join(f"\\{mark}" if mark in "\\`*_[]()<>#|!" else mark for mark in text)


def _champions(store: Store, runs: Sequence[RunRecord]) -> list[str]:
    """A line for each model of the experiment's data sets that has a champion."""
    lines = []
    for model in _models(store, runs):
        version = registry.list_aliases(store, model).get(names.CHAMPION)
        if version is None:
            continue
        link = f"[{plain(model)} version {version}](#/models/{model}/versions/{version})"
        lines.append(f"Champion: {link}, in use as `{model}@{names.CHAMPION}`.")
    return lines


def _models(store: Store, runs: Sequence[RunRecord]) -> list[str]:
    """The registered generators of the runs' data sets, of every direction."""
    found = set()
    for dataset in {run.dataset for run in runs if run.dataset}:
        found |= set(registry.generators_of(store, dataset))
    return sorted(found)


def _by_kind(runs: Iterable[RunRecord]) -> Mapping[str, list[RunRecord]]:
    grouped: dict[str, list[RunRecord]] = {}
    for run, kind in zip(runs, _kinds(runs), strict=True):
        grouped.setdefault(kind, []).append(run)
    return grouped


def _kinds(runs: Iterable[RunRecord]) -> list[str]:
    return [run.kind for run in runs]


def _scored(runs: Iterable[RunRecord]) -> tuple[str, ...]:
    """The metric that most runs were chosen by; one that a hand edited does not count."""
    counts: Counter[str] = Counter()
    for run in runs:
        try:
            best = records.best_score(run)
        except TrackingError:
            continue
        if best is not None:
            counts[names.score(best.name)] += 1
    return tuple(name for name, _ in counts.most_common(1))


def _leading(runs: Iterable[RunRecord], prefix: str, first: tuple[str, ...]) -> list[str]:
    """The metrics of a prefix that most runs have, ``first`` before them."""
    counts = Counter(name for run in runs for name in run.metrics if name.startswith(prefix))
    ranked = sorted(counts, key=lambda name: (name not in first, -counts[name], name))
    return ranked[:_NUM_COLUMNS]


def _logged(runs: Iterable[RunRecord]) -> tuple[str, ...]:
    """Every metric that some of them have."""
    return tuple(sorted({name for run in runs for name in run.metrics}))


def _kind(kind: str) -> str:
    return f"tags.`{names.KIND}` = '{kind}'"


def _state(view: View) -> dict[str, Any]:
    """The keys that MLflow's run page reads from a shared view."""
    return {
        "searchFilter": view.filter,
        "orderByKey": f"metrics.`{view.order_by}`",
        "orderByAsc": view.ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(view.columns),
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsHiddenMode": "FIRST_10_RUNS",
        "runListHidden": False,
        "groupBy": None,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "globalLineChartConfig": None,
        **charts.arranged(view.metrics, has_pictures=view.key in _PICTURED),
    }
