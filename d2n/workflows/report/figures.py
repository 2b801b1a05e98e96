"""The report's figures: in the page as plotly draws them, beside it as SVG and PNG for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from d2n import plots
from d2n.errors import D2NError
from d2n.files import writing
from d2n.files.refusals import why
from d2n.workflows.report import page as html
from d2n.workflows.report.tables import slug

if TYPE_CHECKING:
    import plotly.graph_objects as go

FOLDER = "figures"
_SQUARE, _WIDE = 640, 900  # pixels of the files


class Figures:
    """Counts the figures of a report and writes each into its folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._used: set[str] = set()

    def chart(
        self, fig: go.Figure, name: str, caption: str, *, height_px: int = 420, is_square: bool = False
    ) -> str:
        """The figure for the page, over its caption and the files that were written of it."""
        import plotly.graph_objects as go

        name = self._name(name)
        width_px, tall_px = (_SQUARE, _SQUARE) if is_square else (_WIDE, height_px + 100)
        made = plots.pictures(fig, width_px=width_px, height_px=tall_px)
        files = [self._write(f"{name}.{form}", content) for form, content in made.items()]
        shown = go.Figure(fig).update_layout(
            title_text="",
            width=None,
            height=height_px,
            autosize=True,
            margin={"l": 60, "r": 20, "t": 30, "b": 60},
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        )
        label = html.escape(caption)
        chart = plots.to_html(shown, name)
        links = " ".join(f'<a href="{file}">{file.rpartition(".")[2].upper()}</a>' for file in files)
        return (
            f'<figure><div class="chart" role="group" aria-label="{label}">{chart}</div>'
            f"<figcaption>{label} {links}</figcaption></figure>"
        )

    def image(self, name: str, content: bytes, form: str = "png") -> str:
        """Write an image; its place from the page."""
        return self._write(f"{self._name(name)}.{form}", content)

    def _name(self, name: str) -> str:
        chosen, number = slug(name), 1
        while chosen in self._used:
            number += 1
            chosen = f"{slug(name)}-{number}"
        self._used.add(chosen)
        return chosen

    def _write(self, name: str, content: bytes) -> str:
        path = self.out / FOLDER / name
        try:
            writing.write_bytes(path, content)
        except OSError as error:
            raise D2NError(
                f"{path}: cannot be written ({why(error, path)}); choose another folder"
            ) from error
        return f"{FOLDER}/{name}"


def side_by_side(charts: list[str]) -> str:
    """Several figures in one row, as many as the window holds."""
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""
