"""The report's page: sections of HTML from plain values; nothing here reads a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape as as_html
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from d2n import secrets
from d2n.plots.style import FONT, plotly_js


def _finalized(value: object) -> object:
    """What a template shows is text, unless it says |safe."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))  # noqa: S704 - escaped


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=_finalized,
    undefined=StrictUndefined,
)


def page(title: str, lead: str, sections: Iterable[tuple[str, str]]) -> str:
    """A whole page that needs no network: (heading, HTML) sections under one title; plotly.js is inside."""
    template = _TEMPLATES.get_template("page.html")
    return (
        template.render(title=title, lead=lead, sections=list(sections), font=FONT, plotly=plotly_js()) + "\n"
    )


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text_columns: Sequence[int] = (0,),
    row_classes: Sequence[str] = (),
    wrap: bool = False,
) -> str:
    """Cells are HTML already (see cell); the header is text. ``text_columns`` stand to the left."""
    classed = [(row, row_classes[i] if i < len(row_classes) else "") for i, row in enumerate(rows)]
    return _TEMPLATES.get_template("table.html").render(
        header=header, rows=classed, text_columns=text_columns, kind="wrap" if wrap else "text"
    )


def cell(text: object) -> str:
    """Any value as a safe cell; None is a dash."""
    return "–" if text is None or text == "" else escape(str(text))


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def note(text: str) -> str:
    """A small remark."""
    return f'<p class="note">{escape(text)}</p>'


def warning(text: str) -> str:
    """A line that must be seen."""
    return f'<p class="warning">{escape(text)}</p>'


def subheading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{escape(text)}</h3>"


def picture(data_uri: str, caption: str) -> str:
    """An embedded image under its caption."""
    return f'{subheading(caption)}<img class="sheet" src="{escape(data_uri)}" alt="{escape(caption)}">'


def items(values: Mapping[str, str]) -> str:
    """A list of name: value."""
    lines = "".join(f"<li>{escape(name)}: {escape(value)}</li>" for name, value in values.items())
    return f"<ul>{lines}</ul>"


def escape(text: str) -> str:
    """A text as HTML holds it, without the password of a URL in it."""
    return as_html(secrets.scrub_urls(text))
