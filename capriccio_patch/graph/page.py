"""A blocking graph as one page of HTML: a picture that zooms, and tables that sort and search.

The page needs nothing from elsewhere.  Without scripts it has the picture and the tables as well.

Only reads the graph; any OS thread.
"""

from __future__ import annotations

from html import escape

from .model import BlockingGraph, Edge, Node

__all__ = ["page"]

_HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Blocking graph</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 14px sans-serif; margin: 1.5em 2em; color: #222 }
h1 { font-size: 20px } h2 { font-size: 16px; margin: 1.5em 0 0 }
table { border-collapse: collapse; margin-top: .5em }
td, th { padding: 3px 10px; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top }
th { cursor: pointer; background: #f4f5f7; position: sticky; top: 0; user-select: none }
th[data-order="1"]::after { content: " \\25B2" } th[data-order="-1"]::after { content: " \\25BC" }
td.text, th.text { text-align: left }
tr:hover td { background: #f8f9fb }
pre { margin: 0; font-size: 12px; color: #555 }
#picture { border: 1px solid #ddd; height: 75vh; overflow: hidden; touch-action: none }
#picture svg { width: 100%; height: 100%; cursor: grab }
#picture path:hover { stroke-opacity: 1; stroke-width: 6 }
input { font: inherit; padding: 3px 6px; width: 22em }
.hint { color: #666 }
</style></head><body>
"""

_HINT = """<p class="hint">The wheel zooms, dragging moves, a double click shows all. Pointed at,
discs and edges say more. A click on the head of a column sorts by it.</p>"""

_SCRIPT = """<script>
"use strict";
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const order = -(head.dataset.order || (head.className ? -1 : 1));
    heads.forEach(other => delete other.dataset.order);
    head.dataset.order = order;
    const key = row => row.cells[column].dataset.key ?? row.cells[column].textContent;
    const compare = head.className ? (a, b) => a.localeCompare(b) : (a, b) => a - b;
    body.append(...[...body.rows].sort((a, b) => order * compare(key(a), key(b))));
  }));
}
document.getElementById("search").addEventListener("input", event => {
  const words = event.target.value.toLowerCase().split(/\\s+/);
  for (const row of document.querySelectorAll("tbody tr")) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every(word => text.includes(word));
  }
});
const svg = document.querySelector("#picture svg"), box = svg.viewBox.baseVal;
const whole = [box.x, box.y, box.width, box.height];
const frame = document.getElementById("picture");  // no higher than a flat picture needs
frame.style.height = `min(75vh, ${frame.clientWidth * box.height / box.width}px)`;
const unit = () => 1 / svg.getScreenCTM().a;
svg.addEventListener("wheel", event => {
  event.preventDefault();
  const factor = Math.exp(event.deltaY * 0.001);
  const onPage = new DOMPoint(event.clientX, event.clientY);
  const at = onPage.matrixTransform(svg.getScreenCTM().inverse());
  box.x = at.x + (box.x - at.x) * factor;
  box.y = at.y + (box.y - at.y) * factor;
  box.width *= factor;
  box.height *= factor;
}, { passive: false });
svg.addEventListener("pointermove", event => {
  if (!event.buttons) return;
  box.x -= event.movementX * unit();
  box.y -= event.movementY * unit();
});
const scale = svg.getScreenCTM().a;
if (scale < 0.6) {  // too small to be read: begin with a part of it
  [box.width, box.height] = [svg.clientWidth / 0.7, svg.clientHeight / 0.7];
  box.x = (whole[2] - box.width) / 2;
}
svg.addEventListener("dblclick", () => [box.x, box.y, box.width, box.height] = whole);
</script></body></html>
"""


def page(graph: BlockingGraph, picture: str, summary: str) -> str:
    """The page, with the graph drawn as SVG in `picture`, and a line of `summary`."""
    names = {node.number: f"{node.kind} {node.name}" for node in graph.nodes}
    nodes = sorted(graph.nodes, key=lambda node: (-node.moves, -node.parked))
    edges = sorted(graph.edges, key=lambda edge: -edge.moves)
    return "\n".join(
        [
            f"{_HEAD}<h1>Blocking graph</h1><p>{escape(summary)}</p>",
            f'<div id="picture">{picture}</div>',
            _HINT,
            '<p><input id="search" type="search" placeholder="Search: words in any order"></p>',
            "<h2>Places where threads wait</h2>",
            _table("no.,kind*,place*,parked,on average,went on", [_node(node) for node in nodes]),
            "<h2>Moves from one to the next</h2>",
            _table("from*,to*,moves", [_edge(edge, names) for edge in edges]),
            _SCRIPT,
        ]
    )


def _table(heads: str, rows: list[str]) -> str:
    """Heads with an asterisk are of columns of text."""
    cells = "".join(
        f'<th class="text">{head[:-1]}</th>' if head.endswith("*") else f"<th>{head}</th>"
        for head in f"{heads},CPU (ms),memory (KiB),descriptors".split(",")
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>\n{body}</tbody></table>"


def _text(value: str, more: str = "") -> str:
    shown = escape(value)
    if more:
        shown = f"<details><summary>{shown}</summary><pre>{escape(more)}</pre></details>"
    return f'<td class="text" data-key="{escape(value)}">{shown}</td>'


def _number(value: float, shown: str) -> str:
    return f'<td data-key="{value!r}">{shown}</td>'


def _averages(each: Node | Edge) -> str:
    return (
        _number(each.cpu, f"{each.cpu * 1e3:.3f}")
        + _number(each.memory, f"{each.memory / 1024:+.1f}")
        + _number(each.descriptors, f"{each.descriptors:+.2f}")
    )


def _node(node: Node) -> str:
    chain = "\n".join(f"{file}:{line} {name}" for file, line, name in node.chain)
    return (
        _number(node.number, str(node.number))
        + _text(node.kind)
        + _text(node.name, chain)
        + _number(node.parked, f"{node.parked:,}")
        + _number(node.mean_parked, f"{node.mean_parked:,.2f}")
        + _number(node.moves, f"{node.moves:,}")
        + _averages(node)
    )


def _edge(edge: Edge, names: dict[int, str]) -> str:
    return (
        _text(names[edge.source])
        + _text(names[edge.target])
        + _number(edge.moves, f"{edge.moves:,}")
        + _averages(edge)
    )
