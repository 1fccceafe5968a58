"""A diagnosis as a page that is complete in itself."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from html import escape

from anact._diagnosis_text import COLUMNS, labels
from anact._layer_diagnosis import LayerDiagnosis

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --text: #1b1f24; --muted: #59636e; --rule: #d9dee4;
  --grid: #e8ebef; --good: #e7f5ec; --good-edge: #1f7a45;
  --bad: #fdecea; --bad-edge: #b3261e; --line: #0072b2; --mark: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --text: #e6e9ed; --muted: #9aa4af; --rule: #333a42;
    --grid: #272d34; --good: #17301f; --good-edge: #5fc98d;
    --bad: #341b1a; --bad-edge: #f2877d; --line: #5aa9e6; --mark: #f2877d;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem;
  background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  -webkit-text-size-adjust: 100%; overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 0.3rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 0.6rem; }
h3 { font-size: 0.95rem; margin: 0 0 0.25rem; }
p { margin: 0 0 0.6rem; max-width: 48rem; }
.muted { color: var(--muted); }
.verdict { margin: 1rem 0; padding: 0.7rem 1rem; border-left: 4px solid; }
.verdict.good { border-color: var(--good-edge); background: var(--good); }
.verdict.bad { border-color: var(--bad-edge); background: var(--bad); }
.verdict p { max-width: none; }
.verdict p:last-child { margin: 0; }
.panels {
  display: grid; gap: 1.25rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr));
}
svg { display: block; width: 100%; max-width: 34rem; height: auto; }
svg text { font-size: 11px; fill: var(--muted); font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--grid); }
svg .line { fill: none; stroke: var(--line); stroke-width: 1.5; }
svg .dot { fill: var(--line); }
svg .mark { fill: var(--mark); }
.scroll { overflow-x: auto; border: solid var(--rule); border-width: 1px 0; }
table {
  border-spacing: 0; width: 100%; font-size: 0.875rem;
  font-variant-numeric: tabular-nums;
}
th, td { padding: 0.25rem 0.6rem; text-align: right; white-space: nowrap; }
tbody tr > * { border-top: 1px solid var(--grid); }
thead th { color: var(--muted); font-weight: 500; }
tbody th {
  position: sticky; left: 0; background: var(--page); text-align: left;
  font-weight: 400; white-space: normal; min-width: 8rem; max-width: 24rem;
  padding-left: calc(var(--depth) * 0.9rem);
}
tbody tr.block th { font-weight: 600; }
tbody tr.bad th { color: var(--bad-edge); font-weight: 600; }
.type { color: var(--muted); font-weight: 400; }
code { font-size: 0.95em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; }
dt { color: var(--muted); }
dd { margin: 0; }
@media (max-width: 30rem) {
  tbody th {
    min-width: 6rem; max-width: 8rem; padding-left: calc(var(--depth) * 0.4rem);
  }
  th .type { display: none; }
}
"""

_WIDTH, _HEIGHT = 340, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 6, 8, 26


def page(
    title: str,
    heading: str,
    layers: list[LayerDiagnosis],
    problems: list[tuple[tuple[str, ...], str]],
    notes: list[str],
) -> str:
    """The page.

    Args:
        problems: the names of each problem's layers, and what it says.
    """
    kind = "bad" if problems else "good"
    sentences = [sentence for _, sentence in problems] or ["No problem was found."]
    bad = {name for names, _ in problems for name in names}
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="muted">{escape(heading)}</p>',
        f'<div class="verdict {kind}">{_paragraphs(sentences)}</div>',
        _paragraphs(notes),
    ]
    if layers:
        parts += [
            "<h2>Growth</h2>",
            '<div class="panels">',
            _chart("Signal", layers, bad, lambda x: x.signal_growth),
            _chart("Gradient", layers, bad, lambda x: x.gradient_growth),
            "</div>",
            "<h2>Layers</h2>",
            _table(layers, bad),
            "<dl>",
            *(
                f"<dt>{escape(c.heading)}</dt><dd>{escape(c.meaning)}</dd>"
                for c in COLUMNS
            ),
            "</dl>",
        ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Diagnosis of {escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _paragraphs(sentences: list[str]) -> str:
    coded = (re.sub("`(.*?)`", r"<code>\1</code>", escape(s)) for s in sentences)
    return "".join(f"<p>{sentence}</p>" for sentence in coded)


def _table(layers: list[LayerDiagnosis], bad: set[str]) -> str:
    head = "".join(f'<th scope="col">{escape(c.heading)}</th>' for c in COLUMNS)
    rows = []
    for x, (name, type_) in zip(layers, labels(layers), strict=True):
        entries = "".join(f"<td>{escape(c.entry(x))}</td>" for c in COLUMNS)
        kind = "bad" if x.name in bad else x.kind
        rows.append(
            f'<tr class="{kind}"><th scope="row" style="--depth: {x.depth}" '
            f'title="{escape(x.name)}">{_name(name, type_)}</th>{entries}</tr>'
        )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Layers"><table>\n'
        f"<thead><tr><td></td>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(rows)
        + "\n</tbody></table></div>"
    )


def _name(name: str, type_: str) -> str:
    if not name or not type_:
        return escape(name or type_)
    return f'{escape(name)} <span class="type">{escape(type_)}</span>'


def _chart(
    title: str,
    layers: list[LayerDiagnosis],
    bad: set[str],
    value: Callable[[LayerDiagnosis], float | None],
) -> str:
    """The logarithm of a figure over the layers that call no others."""
    leaves = [x for x in layers if x.kind != "block"]
    values = [(i, value(x)) for i, x in enumerate(leaves)]
    points = [(i, math.log10(y)) for i, y in values if y and math.isfinite(y)]
    head = f"<h3>{escape(title)}</h3>"
    if not points:
        return f'<div>{head}<p class="muted">Not measured.</p></div>'
    low = math.floor(min(y for _, y in points))
    high = max(math.ceil(max(y for _, y in points)), low + 1)
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def across(i: int) -> float:
        return _LEFT + (right - _LEFT) * (i + 0.5) / len(leaves)

    def down(y: float) -> float:
        return bottom - (bottom - _TOP) * (y - low) / (high - low)

    step = math.ceil((high - low) / 6)
    marks = []
    for decade in range(low, high + 1, step):
        y = down(decade)
        marks.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">10'
            f'<tspan dy="-4" font-size="8.5">{decade}</tspan></text>'
        )
    line = " ".join(f"{across(i):.1f},{down(y):.1f}" for i, y in points)
    dots = "".join(
        f'<circle class="{"mark" if leaves[i].name in bad else "dot"}" '
        f'cx="{across(i):.1f}" cy="{down(y):.1f}" r="{2 if len(points) < 80 else 1.2}">'
        f"<title>{escape(leaves[i].name)}: {10**y:.3g}</title></circle>"
        for i, y in points
    )
    ends = (
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">input</text>'
        f'<text x="{right}" y="{_HEIGHT - 8}" text-anchor="end">output</text>'
    )
    return (
        f'<div>{head}<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)} over the layers">{"".join(marks)}'
        f'<polyline class="line" points="{line}"/>{dots}{ends}</svg></div>'
    )
