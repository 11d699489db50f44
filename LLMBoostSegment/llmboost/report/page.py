"""HTML by hand: every text that goes in is shown, never obeyed."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from ..files import visible

STYLE = """
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; color: #1c2430; background: #f5f6f8;
  margin: 0; }
main { max-width: 960px; margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 0 0 10px; }
section { background: #fff; border: 1px solid #e0e4ea; border-radius: 8px; padding: 16px 20px; margin: 16px 0;
  overflow-x: auto; }
p { margin: 6px 0; }
.sub, .hint { color: #5b6675; }
.hint { font-size: 13px; }
.warning { color: #8a4b00; }
.tiles { display: flex; flex-wrap: wrap; gap: 28px; }
.tile b { display: block; font-size: 24px; line-height: 1.2; }
table { border-collapse: collapse; }
th, td { padding: 4px 12px 4px 0; text-align: right; border-bottom: 1px solid #eceff3; white-space: nowrap; }
th { color: #5b6675; font-weight: 600; }
th:first-child, td:first-child { text-align: left; }
td.word { text-align: left; }
td.share { padding: 4px 10px; text-align: center; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px; }
.pictures { display: flex; flex-wrap: wrap; gap: 16px; }
figure { margin: 0; width: 385px; max-width: 100%; }
figure img, .curve { max-width: 100%; border-radius: 4px; display: block; }
.small figure { width: 170px; }
figcaption { font-size: 13px; color: #5b6675; padding-top: 4px; }
"""


@dataclass(frozen=True)
class Cell:
    """A table's cell: HTML that is ready, its class and its style."""

    html: str
    kind: str = ""
    style: str = ""


def text(value: object) -> str:
    """Any text as HTML."""
    return html.escape(visible(str(value)), quote=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Texts, and cells that are HTML already."""
    titles = "".join(f"<th>{text(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{body}</table>"


def _cell(value: object) -> str:
    cell = value if isinstance(value, Cell) else Cell(text(value))
    kind = f' class="{cell.kind}"' if cell.kind else ""
    style = f' style="{cell.style}"' if cell.style else ""
    return f"<td{kind}{style}>{cell.html}</td>"


def section(title: str, *parts: str) -> str:
    return f"<section><h2>{text(title)}</h2>{''.join(parts)}</section>"


def hint(words: str) -> str:
    return f'<p class="hint">{text(words)}</p>'


def picture(data: str, alt: str, kind: str = "") -> str:
    """A PNG in base64."""
    kind = f' class="{kind}"' if kind else ""
    return f'<img{kind} alt="{text(alt)}" src="data:image/png;base64,{data}">'


def page(title: str, subtitle: str, sections: Sequence[str]) -> str:
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body><main>'
        f'<h1>{text(title)}</h1><p class="sub">{text(subtitle)}</p>{"".join(filter(None, sections))}'
        "</main></body></html>\n"
    )
