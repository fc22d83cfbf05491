"""One self-contained HTML page of evidence: no script, no network, readable on a phone and on paper.

A section is a study: its question, its picture, what it means, what the paper says, its tables, and what made its rows.
"""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from worldshift.report.grid import Grid
from worldshift.report.section import TALL, Section

_STYLE = """
:root { --ink: #1d2129; --soft: #5b6472; --line: #dfe3e8; --paper: #ffffff; --shade: #f5f7f9; --link: #0072b2 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --soft: #a3acba; --line: #39404b; --paper: #171a1f; --shade: #20242b; --link: #56b4e9 }
  img { background: #fff; border-radius: 6px }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 1.2rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 1.5rem 0 .3rem }
h2 { font-size: 1.25rem; margin: 0 0 .2rem }
p { margin: .5rem 0 }
a { color: var(--link) }
nav ol { columns: 2 18rem; padding-left: 1.4rem; font-size: .95rem }
section { border-top: 1px solid var(--line); margin-top: 2.2rem; padding-top: 1.6rem }
.question { color: var(--soft); margin-top: 0 }
.facts { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)) }
.facts > div { background: var(--shade); border-radius: 8px; padding: .7rem .9rem; font-size: .95rem }
.facts b { display: block; font-size: .78rem; letter-spacing: .04em; text-transform: uppercase; color: var(--soft) }
figure { margin: 1rem 0 }
img { max-width: 100%; height: auto; display: block; margin: 0 auto }
.scroll { overflow-x: auto; margin: .8rem 0 }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; width: 100% }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--paper) }
summary { cursor: pointer; color: var(--link); font-size: .95rem }
.notes { color: var(--soft); font-size: .9rem; padding-left: 1.1rem }
.provenance { color: var(--soft); font-size: .82rem; overflow-wrap: anywhere }
code { background: var(--shade); border-radius: 4px; padding: .05rem .3rem; font-size: .92em }
@media print {
  body { max-width: none; font-size: 10.5pt } nav { display: none }
  section { break-before: page; border: 0 } figure, tr { break-inside: avoid }
  img { max-height: 16cm; width: auto }
  table { font-size: 7.5pt } th, td { padding: .15rem .3rem } .scroll { overflow: visible }
}
"""


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The whole page."""
    links = "".join(f'<li><a href="#{_id(s.name)}">{_text(s.name)}</a>: {_text(s.question)}</li>' for s in sections)
    body = "".join(_section(s) for s in sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{_text(title)}</h1><p>{_text(lead)}</p><nav><ol>{links}</ol></nav>{body}</body></html>\n"
    )


def _section(s: Section) -> str:
    facts = [("What it means", s.meaning), ("What was published", s.paper)]
    boxes = "".join(f"<div><b>{label}</b>{_text(words)}</div>" for label, words in facts if words)
    notes = "".join(f"<li>{_text(note)}</li>" for note in s.notes)
    return (
        f'<section id="{_id(s.name)}"><h2>{_text(s.name)}</h2><p class="question">{_text(s.question)}</p>'
        + (f'<div class="facts">{boxes}</div>' if boxes else "")
        + (_picture(s.picture, s.question) if s.picture else "")
        + "".join(_table(caption, grid) for caption, grid in s.tables)
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
        + f'<p class="provenance">{"<br>".join(_text(line) for line in s.provenance)}</p></section>'
    )


def _picture(path: Path, words: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<figure><img alt="{html.escape(words)}" src="data:image/png;base64,{data}"></figure>'


def _table(caption: str, grid: Grid) -> str:
    head = "".join(f"<th>{_text(word)}</th>" for word in grid.header)
    rows = "".join("<tr>" + "".join(f"<td>{_text(word)}</td>" for word in row) + "</tr>" for row in grid.rows)
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    folded = len(grid.rows) > TALL
    return f"<details><summary>{_text(caption)} ({len(grid.rows)} lines)</summary>{table}</details>" if folded else (
        f"<p><b>{_text(caption)}</b></p>{table}"
    )  # fmt: skip


def _text(words: str) -> str:
    return html.escape(words, quote=False)


def _id(name: str) -> str:
    return html.escape(name.replace(" ", "-"))
