"""Draws a blocking graph: as SVG, as a page of HTML with the numbers, for Graphviz, or as JSON.

The picture needs no other program.  Threads go down it: nodes lie in layers, each below those from
where threads come to it, but for moves that lead back (found depth first); within a layer each is
put where its neighbours are, and a broad one is broken into rows.  A node's disc grows with the
threads that are parked there on average (its area), an edge's width with the logarithm of its
traffic.

Only reads the graph; any OS thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from math import log10, sqrt

from .model import BlockingGraph, Edge, Node
from .page import page

__all__ = ["drawn"]

MOST = 60
"""Nodes in a picture: those with the most threads and the most traffic."""
BROADEST = 5
"""Nodes side by side: more could not be read where the whole picture is shown."""
COLUMN, ROW, MARGIN = 330, 150, 60
SMALLEST, LARGEST = 9.0, 46.0  # radii
TAKES = 0.02  # descriptors a move, on average

# Of nodes; none is red or green, which on an edge means that descriptors are opened or closed.
_COLOURS = {
    "start": "#9aa5b1",
    "end": "#9aa5b1",
    "accept": "#d37295",
    "read": "#4e79a7",
    "write": "#f28e2b",
    "sleep": "#a0cbe8",
    "yield": "#d9dde2",
    "join": "#8c6bb1",
    "worker": "#9c755f",
    "lock": "#8c6bb1",
    "rlock": "#8c6bb1",
    "condition": "#8c6bb1",
    "event": "#8c6bb1",
    "queue": "#edc948",
    "select": "#1b3a57",
}
_OTHER = "#bab0ac"
_GREY, _RED, _GREEN = "#8a94a0", "#d62728", "#2ca02c"


def drawn(graph: BlockingGraph, kind: str) -> str:
    """`graph` as text of a `kind`: ``svg``, ``html``, ``dot`` or ``json``."""
    if kind == "json":
        return json.dumps(graph.as_dict(), indent=1)
    if kind == "html":
        return page(graph, _svg(graph), _summary(graph))
    return {"svg": _svg, "dot": _dot}[kind](graph)


def _selected(graph: BlockingGraph) -> tuple[list[Node], list[Edge]]:
    """The nodes that are drawn, and the edges between them."""
    touched = {end for edge in graph.edges for end in (edge.source, edge.target)}
    nodes = [node for node in graph.nodes if node.number in touched or node.parked]
    nodes.sort(key=lambda node: (node.mean_parked > 0.5, node.moves), reverse=True)
    nodes = nodes[:MOST]
    numbers = {node.number for node in nodes}
    edges = [edge for edge in graph.edges if edge.source in numbers and edge.target in numbers]
    return sorted(nodes), edges


def _summary(graph: BlockingGraph) -> str:
    parked = sum(node.parked for node in graph.nodes)
    text = f"{_number(parked)} parked thread{'' if parked == 1 else 's'}; "
    if not graph.sampled:
        return text + "moves were not recorded"
    return text + (
        f"{_number(graph.moves)} moves in {graph.seconds:.1f} s, "
        f"{_number(graph.sampled)} of them looked at"
    )


# -- layout --------------------------------------------------------------------------------------


def _layers(nodes: list[Node], edges: list[Edge]) -> list[list[int]]:
    """Numbers of nodes, layer by layer from the top, each layer from left to right."""
    targets: dict[int, list[int]] = {node.number: [] for node in nodes}
    for edge in sorted(edges, key=lambda edge: -edge.moves):
        if edge.source != edge.target:
            targets[edge.source].append(edge.target)
    roots = [node.number for node in nodes if node.kind == "start"]
    order = _finished(targets, [*roots, *targets])
    position = {number: place for place, number in enumerate(order)}
    depth = dict.fromkeys(order, 0)
    for number in order:
        for target in targets[number]:
            if position[target] > position[number]:
                depth[target] = max(depth[target], depth[number] + 1)
    for number in roots:  # right above where its threads come to wait first
        if targets[number]:
            depth[number] = max(0, min(depth[target] for target in targets[number]) - 1)
    layers: list[list[int]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for number in order:
        layers[depth[number]].append(number)
    neighbours: dict[int, list[int]] = {number: [] for number in targets}
    for number, others in targets.items():
        for other in others:
            neighbours[number].append(other)
            neighbours[other].append(number)
    for _ in range(8):
        column = _columns(layers)
        for layer in layers:
            layer.sort(key=lambda each: _mean((column[n] for n in neighbours[each]), column[each]))
    return [row for layer in layers for row in _rows(layer)]


def _rows(layer: list[int]) -> list[list[int]]:
    """A layer in rows of about the same length."""
    number = -(-len(layer) // BROADEST)
    return [layer[row::number] for row in range(number)]


def _finished(targets: dict[int, list[int]], roots: list[int]) -> list[int]:
    """All nodes, each before those it leads to, as far as no circle is in the way."""
    order: list[int] = []
    seen: set[int] = set()
    for root in roots:
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, iter(targets[root]))]
        while stack:
            number, left = stack[-1]
            for target in left:
                if target not in seen:
                    seen.add(target)
                    stack.append((target, iter(targets[target])))
                    break
            else:
                order.append(number)
                stack.pop()
    order.reverse()
    return order


def _columns(layers: list[list[int]]) -> dict[int, float]:
    """Where each node is across, in columns, with every layer in the middle."""
    return {
        number: place - (len(layer) - 1) / 2
        for layer in layers
        for place, number in enumerate(layer)
    }


def _mean(values: Iterable[float], default: float) -> float:
    found = list(values)
    return sum(found) / len(found) if found else default


# -- SVG -----------------------------------------------------------------------------------------


def _svg(graph: BlockingGraph) -> str:
    nodes, edges = _selected(graph)
    layers = _layers(nodes, edges)
    columns = _columns(layers)
    left = min(columns.values(), default=0.0)
    widest = max((len(layer) for layer in layers), default=1)
    width = max(widest * COLUMN + 2 * MARGIN, 620)
    height = len(layers) * ROW + 2 * MARGIN + 40
    shift = (width - widest * COLUMN) / 2 + LARGEST + MARGIN
    at = {
        number: ((columns[number] - left) * COLUMN + shift, float(row * ROW + MARGIN + 70))
        for row, layer in enumerate(layers)
        for number in layer
    }
    most = max((node.mean_parked for node in nodes), default=0.0)
    radius = {
        node.number: max(SMALLEST, LARGEST * sqrt(node.mean_parked / most)) if most else SMALLEST
        for node in nodes
    }
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
            f'width="{width:.0f}" height="{height}" font-family="sans-serif" font-size="12">'
        ),
        '<rect width="100%" height="100%" fill="white"/>',
        "<defs>",
        *(_arrow(colour) for colour in (_GREY, _RED, _GREEN)),
        "</defs>",
        '<text x="20" y="28" font-size="16" font-weight="bold">Blocking graph</text>',
        f'<text x="20" y="48" fill="#555">{escape(_summary(graph))}</text>',
    ]
    both_ways = {(edge.source, edge.target) for edge in edges}
    labels: list[str] = []
    parts += [
        _edge(edge, at, radius, (edge.target, edge.source) in both_ways, labels) for edge in edges
    ]
    parts += labels
    parts += [_node(node, at[node.number], radius[node.number]) for node in nodes]
    parts.append(_legend(height, {node.kind for node in nodes}))
    parts.append("</svg>\n")
    return "\n".join(parts)


def _arrow(colour: str) -> str:
    return (
        f'<marker id="arrow{colour[1:]}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" '
        f'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0,0 L10,5 L0,10 z" fill="{colour}"/></marker>'
    )


def _node(node: Node, at: tuple[float, float], radius: float) -> str:
    x, y = at
    chain = "\n".join(f"{file}:{line} {function}" for file, line, function in node.chain)
    title = (
        f"{node.kind}: {_parked(node)}\nwent on {_number(node.moves)} times; on average "
        f"{node.cpu * 1e3:.3f} ms CPU, {node.memory / 1024:+.1f} KiB, "
        f"{node.descriptors:+.2f} descriptors\n{chain}"
    )
    lines = [node.kind, *_shortened(node)]
    if node.mean_parked >= 0.05 or node.parked:
        lines.append(_parked(node))
    text = "".join(
        f'<text x="{x + radius + 7:.0f}" y="{y + 11 + 14 * (row - len(lines) / 2):.0f}" '
        f'stroke="white" stroke-width="4" paint-order="stroke"'
        + (' font-weight="bold">' if row == 0 else ">")
        + escape(line)
        + "</text>"
        for row, line in enumerate(lines)
    )
    colour = _COLOURS.get(node.kind, _OTHER)
    return (
        f'<g><title>{escape(title)}</title><circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}" '
        f'fill="{colour}" stroke="#333"/>{text}</g>'
    )


def _parked(node: Node) -> str:
    now = _number(node.parked)
    if node.mean_parked == node.parked and node.parked:
        return f"{now} parked now"  # moves were not recorded, or it has never changed
    return f"{node.mean_parked:,.1f} parked on average, {now} now"


def _shortened(node: Node) -> list[str]:
    """The place, and the call that waits where that is the standard library's."""
    lines = [node.name] if node.name else []
    if node.chain and node.kind != "start":
        innermost = node.chain[-1][2].rpartition(".<locals>.")[2]
        if not node.name.endswith(innermost):
            lines.append(f"in {innermost}")
    return [line if len(line) <= 38 else f"{line[:18]}…{line[-19:]}" for line in lines]


def _edge(
    edge: Edge,
    at: dict[int, tuple[float, float]],
    radius: dict[int, float],
    both_ways: bool,
    labels: list[str],
) -> str:
    """The path of an edge; what is written on it is added to `labels`."""
    (x1, y1), (x2, y2) = at[edge.source], at[edge.target]
    r1, r2 = radius[edge.source], radius[edge.target]
    colour = _GREY
    if abs(edge.descriptors) >= TAKES:
        colour = _RED if edge.descriptors > 0 else _GREEN
    if edge.source == edge.target:
        side = r1 * 0.7
        path = (
            f"M{x1 - side:.0f},{y1 - side:.0f} C{x1 - r1 - 55:.0f},{y1 - r1 - 35:.0f} "
            f"{x1 - r1 - 55:.0f},{y1 + r1 + 35:.0f} {x1 - side:.0f},{y1 + side:.0f}"
        )
        label = (x1 - r1 - 44, y1 + 4)
    else:
        # Bent to the side: more if it leads back, or past other layers.
        dx, dy = x2 - x1, y2 - y1
        length = sqrt(dx * dx + dy * dy) or 1.0
        bend = 34.0 if both_ways else 0.0
        if dy <= 0 or dy > ROW * 1.5:
            bend = max(bend, 0.28 * length)
        cx, cy = (x1 + x2) / 2 - dy / length * bend, (y1 + y2) / 2 + dx / length * bend
        sx, sy = _towards(x1, y1, cx, cy, r1)
        tx, ty = _towards(x2, y2, cx, cy, r2 + 2)
        path = f"M{sx:.0f},{sy:.0f} Q{cx:.0f},{cy:.0f} {tx:.0f},{ty:.0f}"
        # Nearer to the source, where fewer edges meet than at discs that all lead to.
        label = (0.36 * sx + 0.48 * cx + 0.16 * tx, 0.36 * sy + 0.48 * cy + 0.16 * ty)
    wide = 1.0 + 1.1 * log10(max(edge.moves, 1))
    text = f"{_number(edge.moves)}x"
    if abs(edge.descriptors) >= TAKES:
        text += f" {edge.descriptors:+.2f} fd"
    labels.append(
        f'<text x="{label[0]:.0f}" y="{label[1]:.0f}" text-anchor="middle" font-size="11" '
        f'fill="{colour if colour != _GREY else "#444"}" stroke="white" stroke-width="4" '
        f'paint-order="stroke">{text}</text>'
    )
    title = (
        f"{edge.moves} moves; on average {edge.cpu * 1e3:.3f} ms CPU, "
        f"{edge.memory / 1024:+.1f} KiB, {edge.descriptors:+.2f} descriptors"
    )
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{wide:.1f}" '
        f'stroke-opacity="0.75" marker-end="url(#arrow{colour[1:]})"><title>{title}</title></path>'
    )


def _towards(x: float, y: float, to_x: float, to_y: float, far: float) -> tuple[float, float]:
    length = sqrt((to_x - x) ** 2 + (to_y - y) ** 2) or 1.0
    return x + (to_x - x) / length * far, y + (to_y - y) / length * far


def _legend(height: int, kinds: set[str]) -> str:
    swatches = " ".join(
        f'<tspan fill="{_COLOURS.get(kind, _OTHER)}">\u25cf</tspan> {escape(kind)}'
        for kind in sorted(kinds)
        if kind
    )
    return (
        f'<text x="20" y="{height - 38}" fill="#555" font-size="11">Discs, by what is waited for: '
        f"{swatches}. Area: threads parked there on average.</text>"
        f'<text x="20" y="{height - 20}" fill="#555" font-size="11">Edges: moves from one place to '
        f'the next. Width: their number. <tspan fill="{_RED}">Red: a move opens descriptors.'
        f'</tspan> <tspan fill="{_GREEN}">Green: it closes some.</tspan></text>'
    )


def _number(value: int) -> str:
    return f"{value:,}"


# -- the others ----------------------------------------------------------------------------------


def _dot(graph: BlockingGraph) -> str:
    nodes, edges = _selected(graph)
    most = max((node.mean_parked for node in nodes), default=0.0) or 1.0
    lines = ["digraph blocking {", "  node [shape=circle, style=filled, fontsize=10];"]
    for node in nodes:
        label = json.dumps("\n".join([node.kind, *_shortened(node), _parked(node)]))
        width = max(0.3, 2.0 * sqrt(node.mean_parked / most))
        colour = _COLOURS.get(node.kind, _OTHER)
        lines.append(
            f'  n{node.number} [label="", xlabel={label}, width={width:.2f}, fillcolor="{colour}"];'
        )
    for edge in edges:
        wide = 1.0 + 1.1 * log10(max(edge.moves, 1))
        label = json.dumps(f"{_number(edge.moves)}x {edge.descriptors:+.2f} fd")
        lines.append(
            f"  n{edge.source} -> n{edge.target} [label={label}, penwidth={wide:.1f}, fontsize=9];"
        )
    return "\n".join([*lines, "}", ""])
