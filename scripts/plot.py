#!/usr/bin/env python3
"""Draws docs/speed.svg from docs/speed.json: speed of decode and of prefill, against other engines and the machine's limit.

    python3 scripts/plot.py

Standard library only. docs/benchmarks.md says how each figure was measured. A page shows the picture in light and in dark.
"""

import json
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"

LEFT, BAR, GAP, PANEL, TOP = 160, 15, 10, 290, 40
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .small { font-size: 11px; fill: #57606a }
.value { font-size: 11px; fill: #24292f }
.two { fill: #8c959f } .one { fill: #d0d7de } .ours .two { fill: #0969da } .ours .one { fill: #9ccbf7 }
.ours .two + .value { fill: #ffffff }
.limit { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .value, .ours .two + .value { fill: #ffffff }
  .two { fill: #656d76 } .one { fill: #3d444d } .ours .two { fill: #1f6feb } .ours .one { fill: #0c4a8c }
  .limit { stroke: #ff7b72 }
}"""


def panel(x, figures, key, title, limit):
    """Bars of one quantity, for every engine two threads above one thread; each limit as a dashed line."""
    rows = figures["engines"]
    scale = (PANEL - 20) / max([*(value for row in rows for value in row[key].values()), *limit.values()])
    out = [f'<text class="title" x="{x}" y="22">{escape(title)}</text>']
    y = TOP
    for row in rows:
        out.append(f'<g class="{"ours" if row.get("ours") else "peer"}">')
        for threads, style in (("2", "two"), ("1", "one")):
            value = row[key][threads]
            out.append(f'<rect class="{style}" x="{x}" y="{y}" width="{value * scale:.1f}" height="{BAR}" rx="2"/>')
            out.append(f'<text class="value" x="{x + 6}" y="{y + 11.5}">{value:.1f}</text>')
            y += BAR + 1
        out.append("</g>")
        y += GAP
    for threads, value in limit.items():
        at, bottom = x + value * scale, y - 4 + 14 * (threads == "2")
        label = "limit, 1 thread" if threads == "1" else f"limit, {threads} threads"
        out.append(f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 6}" y2="{bottom}"/>')
        out.append(f'<text class="small" x="{at - 5:.1f}" y="{bottom}" text-anchor="end">{label}</text>')
    return out


def legend(x, y):
    """The colours of the bars."""
    out = []
    for style, label in (("two", "2 threads"), ("one", "1 thread")):
        out.append(f'<g class="ours"><rect class="{style}" x="{x}" y="{y}" width="16" height="11" rx="2"/></g>')
        out.append(f'<g class="peer"><rect class="{style}" x="{x + 18}" y="{y}" width="16" height="11" rx="2"/></g>')
        out.append(f'<text class="small" x="{x + 40}" y="{y + 10}">{label}</text>')
        y += 17
    return out


def draw(figures):
    rows = figures["engines"]
    bottom = TOP + len(rows) * (2 * BAR + 2 + GAP)
    height = bottom + 26 + 15 * len(figures["note"])
    width = LEFT + 2 * PANEL + 20
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
           f"<title>{escape(figures['title'])}</title><style>{STYLE}</style>"]
    y = TOP
    for row in rows:
        weight = ' class="title"' if row.get("ours") else ""
        out.append(f'<text{weight} x="{LEFT - 10}" y="{y + BAR + 5}" text-anchor="end">{escape(row["name"])}</text>')
        y += 2 * BAR + 2 + GAP
    out += legend(10, bottom - 14)
    out += panel(LEFT, figures, "decode", "decode, tokens/s", figures["decode_limit"])
    out += panel(LEFT + PANEL + 10, figures, "prefill", "prefill of 128 tokens, tokens/s", figures["prefill_limit"])
    for i, line in enumerate(reversed(figures["note"])):
        out.append(f'<text class="small" x="10" y="{height - 8 - 15 * i}">{escape(line)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    figures = json.loads((DOCS / "speed.json").read_text())
    (DOCS / "speed.svg").write_text(draw(figures))
    print("wrote docs/speed.svg")
