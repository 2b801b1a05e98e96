"""What a report is made with: its figures, its tables, and where its runs are found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from d2n.plots.style import write_text
from d2n.workflows.report.figures import Figures
from d2n.workflows.report.links import Place
from d2n.workflows.report.tables import Cell, Table, slug

TABLES = "tables"


@dataclass
class Book:
    """Passed from section to section; keeps the tables for LaTeX."""

    figures: Figures
    place: Place = field(default_factory=Place)
    tables: list[Table] = field(default_factory=list)

    def table(self, table: Table) -> str:
        """The table for the page."""
        self.tables.append(table)
        return table.as_html()

    def run(self, experiment_id: str, run_id: str, text: str = "") -> Cell:
        """A run's name, or its id, with a link to its page."""
        return Cell(text or run_id[:8], self.place.run(experiment_id, run_id))

    def write_latex(self, out: Path) -> None:
        """A file a table, numbered where two have one name."""
        names: dict[str, int] = {}
        for table in self.tables:
            stem = slug(table.name)
            names[stem] = names.get(stem, 0) + 1
            number = f"-{names[stem]}" if names[stem] > 1 else ""
            write_text(out / TABLES / f"{stem}{number}.tex", table.as_latex())
