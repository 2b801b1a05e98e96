"""The report's page: sections of HTML from plain values; nothing here reads a store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape as as_html
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from d2n import secrets
from d2n.plots.style import FONT, plotly_js


def _finalized(value: object) -> object:
    """What a template shows is text, unless it says |safe."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))  # noqa: S704 - escaped


_LONG = 14  # characters of a word in a column's name


def _breakable(name: str) -> Markup:
    """A column's name, whose long words may go on in the next line after a slash or an underscore."""
    words = (re.sub(r"([/_])", r"\1<wbr>", w) if len(w) > _LONG else w for w in escape(name).split(" "))
    return Markup(" ".join(words))  # noqa: S704 - escaped


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    finalize=_finalized,
    undefined=StrictUndefined,
)
_TEMPLATES.filters["breakable"] = _breakable


def page(
    title: str,
    lead: str,
    sections: Iterable[tuple[str, str]],
    *,
    facts: Iterable[tuple[str, str]] = (),
    has_figures: bool = True,
) -> str:
    """A whole page that needs no network: (heading, HTML) sections under one title, their list before them.

    ``facts`` stand under the title. plotly.js is inside where there are figures.
    """
    template = _TEMPLATES.get_template("page.html")
    numbered = [(f"section-{number}", heading, text) for number, (heading, text) in enumerate(sections, 1)]
    return (
        template.render(
            title=title,
            lead=lead,
            sections=numbered,
            facts=list(facts),
            font=FONT,
            style=style(),
            plotly=plotly_js() if has_figures else "",
        )
        + "\n"
    )


def template(name: str) -> Template:
    """A page's template by its file's name: what it shows is text, unless it says |safe."""
    return _TEMPLATES.get_template(name)


def style() -> str:
    """The style sheet: light, dark, phone and paper."""
    return (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    text_columns: Sequence[int] = (0,),
    row_classes: Sequence[str] = (),
    wrap: bool = False,
) -> str:
    """Cells are HTML already (see cell); the header is text. ``text_columns`` stand to the left."""
    classed = [(row, row_classes[i] if i < len(row_classes) else "") for i, row in enumerate(rows)]
    return _TEMPLATES.get_template("table.html").render(
        header=header,
        rows=classed,
        caption=caption,
        text_columns=text_columns,
        kind="wrap" if wrap else "text",
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


def figure(content: str, caption: str) -> str:
    """What a figure shows, as HTML, over its caption."""
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def image(data_uri: str, alt: str) -> str:
    """An embedded image and what it shows in words."""
    return f'<img src="{escape(data_uri)}" alt="{escape(alt)}" loading="lazy">'


def items(values: Mapping[str, str]) -> str:
    """A list of name: value."""
    lines = "".join(f"<li>{escape(name)}: {escape(value)}</li>" for name, value in values.items())
    return f"<ul>{lines}</ul>"


def escape(text: str) -> str:
    """A text as HTML holds it, without the password of a URL in it."""
    return as_html(secrets.scrub_urls(text))
