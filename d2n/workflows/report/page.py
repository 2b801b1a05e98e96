"""The report's page: sections of HTML from plain values; nothing here reads a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape as as_html

from d2n import secrets
from d2n.plots.style import FONT, plotly_js

_STYLE = f"""
:root {{ color-scheme: light; }}
body {{ font: 16px/1.5 {FONT}; color: #22252b; max-width: 1180px; margin: 2rem auto; padding: 0 1.2rem; }}
h1 {{ font-size: 1.7rem; margin-bottom: .2rem; }}
h2 {{ font-size: 1.25rem; margin-top: 2.6rem; border-bottom: 1px solid #d5d8de; padding-bottom: .25rem; }}
h3 {{ font-size: 1.02rem; margin: 1.6rem 0 .4rem; }}
p, li {{ max-width: 78ch; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .9rem; margin: .4rem 0; }}
th, td {{ padding: .35rem .7rem; border-bottom: 1px solid #e6e8ec; text-align: right; white-space: nowrap; }}
th {{ border-bottom: 2px solid #5b6069; vertical-align: bottom; }}
th:first-child, td:first-child, td.text, th.text {{ text-align: left; }}
td.wrap {{ white-space: normal; text-align: left; }}
tr.baseline td {{ background: #f5f6f8; }}
td b {{ color: #00578a; }}
.note {{ color: #5b6069; font-size: .88rem; }}
.warning {{ border-left: 4px solid #D55E00; padding: .3rem .8rem; background: #fdf3ec; }}
img.sheet {{ max-width: 100%; image-rendering: auto; border: 1px solid #d5d8de; }}
code {{ font-size: .86em; background: #f1f2f5; padding: .05em .3em; border-radius: 3px; }}
"""


def page(title: str, lead: str, sections: Iterable[tuple[str, str]]) -> str:
    """A whole page that needs no network: (heading, HTML) sections under one title; plotly.js is inside."""
    body = "\n".join(f"<section><h2>{escape(heading)}</h2>\n{html}\n</section>" for heading, html in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><script>{plotly_js()}</script></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{paragraph(lead)}\n{body}\n</body></html>\n"
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

    def css(column: int) -> str:
        return f' class="{"wrap" if wrap else "text"}"' if column in text_columns else ""

    head = "".join(f"<th{css(i)}>{escape(name)}</th>" for i, name in enumerate(header))
    lines = []
    for number, row in enumerate(rows):
        kind = row_classes[number] if number < len(row_classes) else ""
        opening = f'<tr class="{escape(kind)}">' if kind else "<tr>"
        lines.append(opening + "".join(f"<td{css(i)}>{value}</td>" for i, value in enumerate(row)) + "</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


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
