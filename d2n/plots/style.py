"""One look for every figure, and how a figure becomes a file that needs no network."""

from __future__ import annotations

import base64
import functools
import gzip
import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from d2n.errors import D2NError
from d2n.files import writing
from d2n.files.refusals import why

# Okabe and Ito 2008, told apart with every common colour blindness; its yellow is too pale on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
GREY = "#8a8f98"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
SEQUENTIAL = "Cividis"  # even in lightness, made for colour-blind readers

_AXIS = {
    "gridcolor": "#e6e8ec",
    "zeroline": False,
    "linecolor": "#5b6069",
    "showline": True,
    "ticks": "outside",
    "tickcolor": "#5b6069",
    "automargin": True,
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 14, "color": "#22252b"},
        "title": {"x": 0.0, "xref": "paper", "xanchor": "left", "font": {"size": 17}},
        "colorway": COLORS,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"bgcolor": "rgba(255,255,255,0.8)"},
        "margin": {"l": 70, "r": 30, "t": 60, "b": 60},
        "hoverlabel": {"font": {"family": FONT}},
    }
)


def figure(title: str, x: str = "", y: str = "", **layout: Any) -> go.Figure:
    """An empty figure in the house's look; ``x`` and ``y`` name the axes."""
    fig = go.Figure()
    fig.update_layout(template=TEMPLATE, title_text=title, **layout)
    fig.update_xaxes(title_text=x)
    fig.update_yaxes(title_text=y)
    return fig


def color(index: int) -> str:
    """The colour of the n-th series; they repeat after the palette's end, with another dash."""
    return COLORS[index % len(COLORS)]


def dash(index: int) -> str:
    """The dash of the n-th series: solid for the first palette, then the next pattern."""
    return DASHES[index // len(COLORS) % len(DASHES)]


def translucent(hex_color: str, alpha: float) -> str:
    """``#0072B2`` at 0.2 → ``rgba(0,114,178,0.2)``: for bands."""
    red, green, blue = (int(hex_color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,  # its button uploads what may be nobody else's business
    "plotlyServerURL": "",
}


_SCRIPT, _LATER = re.compile(r"<script\b[^>]*>"), '<script type="text/x-figure">'
_UNPACK = """
const run = text => document.body.append(Object.assign(document.createElement("script"), {textContent: text}));
(async () => {
  const packed = atob(document.getElementById("packed").textContent);
  const bytes = Uint8Array.from(packed, one => one.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  run(await new Response(plain).text());
  document.querySelectorAll('script[type="text/x-figure"]').forEach(one => run(one.textContent));
})().catch(error => {
  document.getElementById("told").textContent = `The figures need a browser of 2023 or later (${error}).`;
});
"""


def to_html(fig: go.Figure, div_id: str, height_px: int | None = None) -> str:
    """The figure as a <div> for a page that holds plotly.js already (see plotly_js)."""
    if height_px is not None:
        fig = go.Figure(fig).update_layout(height=height_px)
    return str(fig.to_html(full_html=False, include_plotlyjs=False, div_id=div_id, config=_CONFIG))


def plotly_js() -> str:
    """The source of plotly.js, about 5 MB, for a page that must work offline."""
    return str(get_plotlyjs())


@functools.cache
def _packed_plotly_js() -> str:
    """Packing takes a third of a second."""
    return base64.b64encode(gzip.compress(plotly_js().encode(), 9, mtime=0)).decode()


def small_page(title: str, figures: Mapping[str, go.Figure]) -> str:
    """Figures by the ids of their <div>s on one page that needs no network, 2 MB: plotly.js is packed inside.

    Browsers since 2023 unpack it; an older one shows a line that says so.
    """
    parts = [_SCRIPT.sub(_LATER, to_html(fig, name)) for name, fig in figures.items()]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>'
        f'<body><p id="told"></p>{"".join(parts)}'
        f'<script type="text/plain" id="packed">{_packed_plotly_js()}</script><script>{_UNPACK}</script></body></html>'
    )


def write_html(fig: go.Figure, path: str | Path) -> Path:
    """The figure as one self-contained HTML file, written whole or not at all; D2NError if it cannot be."""
    text = str(fig.to_html(include_plotlyjs=True, config=_CONFIG))
    return write_text(Path(path), text)


def write_text(path: Path, text: str) -> Path:
    """UTF-8 text, whole or not at all; makes folders; D2NError where it cannot be written."""
    try:
        return writing.write_text(path, text)
    except OSError as error:
        raise D2NError(f"{path}: cannot be written ({why(error, path)}); choose another folder") from error
