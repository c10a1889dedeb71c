#!/usr/bin/env python3
"""Draws docs/speed.svg from docs/speed.json: decode and prefill speed against peers and the machine's limit.

    python3 scripts/plot.py

Standard library only. docs/benchmarks.md says how each figure was measured.
"""

import json
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"

LEFT, BAR, GAP, PANEL = 190, 13, 9, 260
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .small { font-size: 11px; fill: #57606a }
.two { fill: #8c959f } .one { fill: #c8cdd3 } .ours .two { fill: #0969da } .ours .one { fill: #80b7ee }
.limit { stroke: #cf222e; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .small { fill: #9198a1 } .two { fill: #6e7681 } .one { fill: #444c56 }
  .ours .two { fill: #4493f8 } .ours .one { fill: #1f4f8f } .limit { stroke: #ff7b72 }
}"""


def panel(x, figures, key, title, limit):
    """Bars of one quantity: two threads above, one thread below, for every engine; the limit as a dashed line."""
    rows = figures["engines"]
    values = [row[key][n] for row in rows for n in ("1", "2") if row[key].get(n)]
    scale = (PANEL - 50) / max([*values, *limit.values()])
    out = [f'<text class="title" x="{x}" y="22">{escape(title)}</text>']
    y = 40
    for row in rows:
        group = "ours" if row.get("ours") else "peer"
        out.append(f'<g class="{group}">')
        for n, style in (("2", "two"), ("1", "one")):
            if value := row[key].get(n):
                width = value * scale
                out.append(f'<rect class="{style}" x="{x}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>')
                out.append(f'<text class="small" x="{x + width + 5:.1f}" y="{y + 10}">{value:g}</text>')
            y += BAR + 1
        out.append("</g>")
        y += GAP
    for i, (n, value) in enumerate(limit.items()):
        at, label = x + value * scale, "limit, 1 thread" if n == "1" else f"limit, {n} threads"
        out.append(f'<line class="limit" x1="{at:.1f}" x2="{at:.1f}" y1="34" y2="{y - 4 + 13 * i}"/>')
        out.append(f'<text class="small" x="{at - 4:.1f}" y="{y + 4 + 13 * i}" text-anchor="end">{label}</text>')
    return out


def draw(figures):
    rows = figures["engines"]
    height = 40 + len(rows) * (2 * BAR + 2 + GAP) + 36 + 15 * len(figures["note"])
    width = LEFT + 2 * PANEL + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
           f"<title>{escape(figures['title'])}</title><style>{STYLE}</style>"]
    y = 40
    for row in rows:
        weight = ' class="title"' if row.get("ours") else ""
        out.append(f'<text{weight} x="{LEFT - 10}" y="{y + BAR + 4}" text-anchor="end">{escape(row["name"])}</text>')
        y += 2 * BAR + 2 + GAP
    out += panel(LEFT, figures, "decode", "decode, tokens/s", figures["decode_limit"])
    out += panel(LEFT + PANEL + 20, figures, "prefill", "prompt, tokens/s", figures["prefill_limit"])
    for i, line in enumerate(reversed(figures["note"])):
        out.append(f'<text class="small" x="10" y="{height - 8 - 15 * i}">{escape(line)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


if __name__ == "__main__":
    figures = json.loads((DOCS / "speed.json").read_text())
    (DOCS / "speed.svg").write_text(draw(figures))
    print("wrote docs/speed.svg")
