"""A blocking graph as a page: what its script works on."""

from __future__ import annotations

import re

from capriccio_patch.graph.drawing import drawn
from tests.graph.test_drawing import GRAPH

PAGE = drawn(GRAPH, "html")


def test_every_cell_of_numbers_has_a_key_to_sort_by() -> None:
    cells = re.findall(r"<td( class=\"text\")?( data-key=\"[^\"]*\")?", PAGE)
    assert len(cells) == 5 * 9 + 5 * 6
    assert all(key for _, key in cells)
    numbers = re.findall(r"<td data-key=\"([^\"]*)\"", PAGE)
    assert len(list(map(float, numbers))) == 5 * 7 + 5 * 4


def test_heads_of_text_are_told_from_heads_of_numbers() -> None:
    assert re.findall(r"<th class=\"text\">(\w+)", PAGE) == ["kind", "place", "from", "to"]
    assert len(re.findall(r"<thead>", PAGE)) == 2
    assert len(re.findall(r"<tbody>", PAGE)) == 2


def test_it_needs_nothing_from_elsewhere() -> None:
    without_names = PAGE.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in without_names
    assert re.findall(r"<script[^>]*>", PAGE) == ["<script>"]


def test_no_node_has_a_colour_of_edges() -> None:
    discs = set(re.findall(r"<circle[^>]* fill=\"(#\w+)\"", PAGE))
    edges = set(re.findall(r"<path[^>]* stroke=\"(#\w+)\"", PAGE))
    assert discs
    assert not discs & edges


def test_the_legend_names_the_kinds() -> None:
    legend = PAGE[PAGE.index("Discs, by what is waited for") :]
    for kind in ("read", "lock", "start", "end"):
        assert f"</tspan> {kind}" in legend[: legend.index("Area:")]


def test_where_moves_were_not_recorded_there_is_no_average() -> None:
    nodes = tuple(node._replace(parked=5200, mean_parked=5200.0) for node in GRAPH.nodes)
    page = drawn(GRAPH._replace(nodes=nodes, sampled=0), "html")
    assert "5,200 parked now" in page
    assert "on average, " not in page
    assert f"{5200 * len(nodes):,} parked threads; moves were not recorded" in page
