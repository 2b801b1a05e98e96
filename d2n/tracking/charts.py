"""The charts of a saved view, a section a topic: pictures and scores first, losses of all seeds in one, alarms last.

Left alone, MLflow's pages make a section of everything before a metric's last ``/`` and order them by name. These are
the keys that its pages keep for charts and sections that a person arranged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from d2n.tracking import names

MAX_CHARTS = 80
_MODEL, _SYSTEM = "Model metrics", "System metrics"  # MLflow's own sections: without a topic, of the machine
_TOPICS: tuple[tuple[str, str], ...] = (
    ("Scores", r"score/"),
    ("Best of the study", r"best/"),
    ("Scores of the test images", r"test/"),
    ("Scores on other data sets", r"on/"),
    ("Precision and recall", r"prd/"),
    ("Retrieval", r"(map|map_easy|map_medium|map_hard|mp\d+|recall\d+|map_std)/"),
    ("Retrieval by seed", r"(seed|val|epoch)/"),
    ("Noise of the scores", r"score_(std|low|high|floor)/"),
    ("Search", r"search/"),
    ("Losses", r"loss/"),
    ("Losses by epoch", r"epoch_loss/"),
    ("Time", r"time/"),
    (_MODEL, r"[^/]*$"),
    (_SYSTEM, re.escape(names.SYSTEM)),
    ("Alarms", r"alarm/"),
)
_PICTURES = "Translations"
_OF_SEED = re.compile(r"(?P<name>.+)/seed\d+")


def arranged(metrics: Iterable[str], has_pictures: bool) -> dict[str, Any]:
    """``compareRunCharts``, ``compareRunSections`` and ``isAccordionReordered`` for runs with these metrics."""
    known = sorted(set(metrics))
    charts: list[dict[str, Any]] = []
    sections: list[dict[str, Any]] = []
    if has_pictures:
        sections.append(_section(_PICTURES))
        charts.append(_picture(names.SAMPLES))
    for topic, pattern in _TOPICS:
        of_topic = [name for name in known if re.match(pattern, name)]
        if of_topic or topic in (_MODEL, _SYSTEM):
            sections.append(_section(topic))
            charts += _charts(topic, of_topic)
    return {
        "compareRunCharts": charts[:MAX_CHARTS],
        "compareRunSections": sections,
        "isAccordionReordered": True,
    }


def _charts(topic: str, of_topic: Sequence[str]) -> list[dict[str, Any]]:
    """A chart a metric; the seeds of one metric in one chart."""
    grouped: dict[str, list[str]] = {}
    for name in of_topic:
        found = _OF_SEED.fullmatch(name)
        grouped.setdefault(found["name"] if found else name, []).append(name)
    made = []
    for shown, members in grouped.items():
        made.append(_lines(topic, shown, members) if len(members) > 1 else _bar(topic, members[0]))
        # the page makes a chart of each metric that has none: these have theirs
        made += [{**_bar(topic, name), "deleted": True} for name in members[1:]]
    return made


def _section(topic: str) -> dict[str, Any]:
    return {
        "uuid": _key(topic),
        "name": topic,
        "display": True,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }


def _bar(topic: str, name: str) -> dict[str, Any]:
    """Of its last value; the page turns it into a line where there are several steps."""
    return _card("BAR", topic, name) | {"metricKey": name, "displayName": _short(name), "isGenerated": True}


def _lines(topic: str, shown: str, members: Sequence[str]) -> dict[str, Any]:
    return _card("LINE", topic, shown) | {
        "metricKey": members[0],
        "selectedMetricKeys": list(members),
        "displayName": _short(shown),
        "isGenerated": False,
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }


def _picture(key: str) -> dict[str, Any]:
    """The grid with its step slider; a run's list of params would cover it."""
    return _card("IMAGE", _PICTURES, key) | {
        "imageKeys": [key],
        "step": 0,
        "showRunParams": False,
        "isGenerated": False,
    }


def _card(kind: str, topic: str, name: str) -> dict[str, Any]:
    return {
        "type": kind,
        "uuid": _key(name),
        "metricSectionId": _key(topic),
        "runsCountToCompare": 10,
        "deleted": False,
    }


def _short(name: str) -> str:
    """Without the topic, which the section says."""
    first, slash, rest = name.partition("/")
    return rest if slash and first in ("score", "test", "loss", "alarm", "time", "search", "prd") else name


def _key(text: str) -> str:
    return "d2n-" + re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
