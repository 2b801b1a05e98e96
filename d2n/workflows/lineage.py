"""``d2n lineage``: from a number to its data and back, as text, JSON or a picture."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from d2n import databases, plots
from d2n.errors import ConfigError
from d2n.files.writing import write_text
from d2n.tracking import lineage, runs

if TYPE_CHECKING:
    from d2n.tracking.lineage import Graph
    from d2n.tracking.runs import Store

_KINDS = (".svg", ".html")


def lineage_command(
    reference: str, *, tracking_uri: str | None, as_json: bool, out: Path | None
) -> list[str]:
    """What a reference was made from, and what was made from it."""
    require_kind(out)
    store = runs.open_store(tracking_uri)
    graph = lineage.trace(store, reference)
    if out is not None:
        svg = _picture(store, graph)
        title = html.escape(graph.nodes[graph.root].label)
        page = f"<!doctype html><meta charset='utf-8'><title>{title}</title>{svg}"
        write_text(out, svg if out.suffix == ".svg" else page)
    lines = [graph.to_json()] if as_json else text(graph)
    return lines if out is None or as_json else [*lines, f"drawn in {out}"]


def require_kind(out: Path | None) -> None:
    """ConfigError where the picture's name says no kind that is drawn."""
    if out is not None and out.suffix not in _KINDS:
        raise ConfigError(f"--out {out}: expected a name that ends in {' or '.join(_KINDS)}")


def text(graph: Graph) -> list[str]:
    """Two trees: made from, used by; a thing that was told before is not told again in full."""
    root = graph.nodes[graph.root]
    lines = [_label(graph, graph.root)]
    lines += [f"  {key}: {value}" for key, value in root.facts.items() if not key.startswith("map/")]
    up = _tree(graph, graph.root, is_up=True)
    down = _tree(graph, graph.root, is_up=False)
    lines += ["made from:", *up] if up else []
    lines += ["used by:", *down] if down else ["used by: nothing yet"]
    return lines + [f"left out: {line}" for line in graph.left_out]


def _tree(graph: Graph, root: str, *, is_up: bool) -> list[str]:
    lines: list[str] = []
    told = {root}

    def tell(node: str, depth: int) -> None:
        for edge in graph.made_from(node) if is_up else graph.used_in(node):
            other = edge.target if is_up else edge.source
            again = " (above)" if other in told else ""
            lines.append(f"{'  ' * depth}{edge.role}: {_label(graph, other)}{again}")
            if other not in told:
                told.add(other)
                tell(other, depth + 1)

    tell(root, 1)
    return lines


def _label(graph: Graph, node: str) -> str:
    found = graph.nodes[node]
    maps = [
        f"mAP {key.removeprefix('map/')} {value}" for key, value in found.facts.items() if key[:4] == "map/"
    ]
    return f"{found.label}{': ' if maps else ''}{', '.join(maps)}"


def _picture(store: Store, graph: Graph) -> str:
    base = databases.without_login(store.uri) if store.uri.startswith("http") else "http://127.0.0.1:5000"
    boxes = {
        node.id: plots.Box(_label(graph, node.id), node.kind, f"{base}/{node.link}" if node.link else "")
        for node in graph.nodes.values()
    }
    arrows = [plots.Arrow(edge.source, edge.target, edge.role) for edge in graph.edges]
    return plots.lineage(boxes, arrows, graph.root)
