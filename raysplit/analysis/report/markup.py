"""Pieces of HTML: tables, definition lists and pictures; every text that comes from a run is escaped here."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from raysplit.analysis.report.canvas import DARK, LIGHT, Theme, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(head: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]], texts: int = 1, caption: str = "") -> str:
    """``head``: (name, unit) of each column; the first ``texts`` columns are set left, the others as numbers."""

    def of(place: int) -> str:
        return ' class="t"' if place < texts else ' class="n"'

    names = "".join(
        f'<th scope="col"{of(place)}>{html.escape(name)}'
        + (f'<span class="unit">{html.escape(unit)}</span>' if unit else "")
        + "</th>"
        for place, (name, unit) in enumerate(head)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{of(place)}>{html.escape(cell)}</td>" for place, cell in enumerate(row)) + "</tr>\n"
        for row in rows
    )
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{title}<thead><tr>{names}</tr></thead><tbody>\n{body}</tbody></table></div>\n'


def definitions(facts: Sequence[tuple[str, str]]) -> str:
    """A list of (name, text) facts; a fact without text is left out."""
    return "<dl>" + "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>\n" for k, v in facts if v) + "</dl>\n"


def picture(draw: Callable[[Theme], Figure], text: str, caption: str = "") -> str:
    """A figure drawn for light and for dark pages, inside the page; ``text`` is read out to those who cannot see it."""
    light, dark = (base64.b64encode(svg(draw(theme))).decode() for theme in (LIGHT, DARK))
    title = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        '<figure><picture><source media="screen and (prefers-color-scheme: dark)" '
        f'srcset="data:image/svg+xml;base64,{dark}">'
        f'<img src="data:image/svg+xml;base64,{light}" alt="{html.escape(text)}"></picture>{title}</figure>\n'
    )


def bitmap(png: bytes, text: str) -> str:
    """A PNG inside the page, with ``text`` under it."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(text)}">'
        f"<figcaption>{html.escape(text)}</figcaption></figure>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text; ``kind`` is a class of the style sheet."""
    return f"<p{f' class={kind}' if kind else ''}>{html.escape(text)}</p>\n"


def folded(title: str, inside: str, printed: bool = False) -> str:
    """HTML that opens on a click and, where ``printed``, on paper."""
    return (
        f"<details{' class=printed' if printed else ''}><summary>{html.escape(title)}</summary>\n{inside}</details>\n"
    )


def json_block(value: Mapping[str, Any]) -> str:
    """An object as indented JSON, fields in the order in which they are stored."""
    return f"<pre>{html.escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>\n"
