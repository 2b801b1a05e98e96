"""A table once, as HTML for the page and as LaTeX for a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from d2n import secrets
from d2n.workflows.report import page as html

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "≈": r"$\approx$",
    "★": r"$\star$",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table: a text, where it leads, and a second line in small."""

    text: str | None
    link: str = ""
    below: str = ""
    is_below_bold: bool = False

    def as_html(self) -> str:
        """Escaped; None is a dash."""
        text = html.cell(self.text)
        if self.link:
            text = f'<a href="{html.escape(self.link)}">{text}</a>'
        if self.below:
            below = html.escape(self.below)
            text += f"<br><small>{f'<b>{below}</b>' if self.is_below_bold else below}</small>"
        return text

    def as_latex(self) -> str:
        """One line: a paper's table has no second one."""
        text = latex_text("–" if self.text in (None, "") else str(self.text))
        below = latex_text(self.below)
        if self.is_below_bold:
            below = rf"\textbf{{{below}}}"
        return f"{text} ({below})" if below else text


@dataclass(frozen=True)
class Table:
    """A table with its caption; ``text_columns`` stand to the left."""

    name: str  # of its LaTeX file
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell | str | None]]
    text_columns: Sequence[int] = (0,)
    row_classes: Sequence[str] = ()
    wrap: bool = False

    def as_html(self) -> str:
        """For the page, in a box of its own that scrolls where the window is narrower."""
        body = [[_cell(value).as_html() for value in row] for row in self.rows]
        return html.table(
            self.header,
            body,
            caption=self.caption,
            text_columns=self.text_columns,
            row_classes=self.row_classes,
            wrap=self.wrap,
        )

    def as_latex(self) -> str:
        """A table environment with booktabs' rules."""
        sides = "".join("l" if i in self.text_columns else "r" for i in range(len(self.header)))
        lines = [" & ".join(_cell(value).as_latex() for value in row) + r" \\" for row in self.rows]
        return "\n".join(
            [
                "% needs \\usepackage{booktabs}",
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{latex_text(self.caption)}}}",
                rf"\label{{tab:{slug(self.name)}}}",
                rf"\begin{{tabular}}{{{sides}}}",
                r"\toprule",
                " & ".join(map(latex_text, self.header)) + r" \\",
                r"\midrule",
                *lines,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def latex_text(text: str) -> str:
    """A text as LaTeX sets it: none of its characters is a command."""
    return "".join(_LATEX.get(mark, mark) for mark in secrets.scrub_urls(text) if mark.isprintable())


def slug(text: str) -> str:
    """A name of a file and of an anchor: letters, digits and dashes."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:60] or "unnamed"


def _cell(value: Cell | str | None) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)
