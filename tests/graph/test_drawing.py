"""The blocking graph drawn, for programs and at exit."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import capriccio_patch
from capriccio_patch.errors import ConfigError
from capriccio_patch.graph.drawing import drawn
from capriccio_patch.graph.model import BlockingGraph, Edge, Node

GRAPH = BlockingGraph(
    nodes=(
        Node(0, "end", (), 0, 0.0, 0, 0.0, 0.0, 0.0),
        Node(1, "start", (("/app/<x>.py", 3, "serve"),), 0, 0.0, 10, 0.001, 0.0, 0.0),
        Node(2, "read", (("/app/<x>.py", 4, "serve"),), 4, 40.0, 1000, 0.001, 4096.0, -0.01),
        Node(3, "lock", (("/app/x.py", 9, "a" * 50),), 1, 1.0, 500, 0.001, 0.0, 1.0),
        Node(4, "unseen", (), 0, 0.0, 0, 0.0, 0.0, 0.0),
    ),
    edges=(
        Edge(1, 2, 10, 0.001, 0.0, 0.0),
        Edge(2, 2, 900, 0.001, 0.0, 0.0),
        Edge(2, 3, 90, 0.001, 0.0, 1.0),
        Edge(3, 2, 90, 0.001, 0.0, 0.0),
        Edge(2, 0, 10, 0.001, 0.0, -1.0),
    ),
    sampled=100,
    moves=1100,
    seconds=2.0,
)


def test_svg() -> None:
    root = ET.fromstring(drawn(GRAPH, "svg"))
    svg = "{http://www.w3.org/2000/svg}"
    circles = root.findall(f".//{svg}circle")
    assert len(circles) == 4  # no moves lead to or from the fifth
    radii = sorted(float(circle.get("r", "0")) for circle in circles)
    assert radii[-1] > 3 * radii[-2]
    paths = root.findall(f"{svg}path")
    assert len(paths) == 5
    widths = [float(path.get("stroke-width", "0")) for path in paths]
    assert max(widths) == widths[1]
    texts = ["".join(text.itertext()) for text in root.iter(f"{svg}text")]
    assert "<x>.py:4 serve" in texts
    assert "40.0 parked on average, 4 now" in texts
    assert "90x +1.00 fd" in texts
    width, height = (float(root.get(name, "0")) for name in ("width", "height"))
    for circle in circles:
        assert 0 < float(circle.get("cx", "0")) < width
        assert 0 < float(circle.get("cy", "0")) < height


def test_threads_go_down() -> None:
    root = ET.fromstring(drawn(GRAPH, "svg"))
    height = {}
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        title = group.find("{http://www.w3.org/2000/svg}title")
        circle = group.find("{http://www.w3.org/2000/svg}circle")
        assert title is not None
        assert circle is not None
        height[(title.text or "").partition(":")[0]] = float(circle.get("cy", "0"))
    assert height["start"] < height["read"] < height["lock"]
    assert height["read"] < height["end"]


def test_an_empty_one() -> None:
    empty = BlockingGraph((), (), 0, 0, 0.0)
    for kind in ("svg", "html", "dot", "json"):
        assert drawn(empty, kind)


def test_json() -> None:
    found = json.loads(drawn(GRAPH, "json"))
    assert found["nodes"][2]["name"] == "<x>.py:4 serve"
    assert found["edges"][2] == {
        "source": 2,
        "target": 3,
        "moves": 90,
        "cpu": 0.001,
        "memory": 0.0,
        "descriptors": 1.0,
    }


def test_html_holds_the_picture_and_the_numbers() -> None:
    page = drawn(GRAPH, "html")
    assert "<svg" in page
    assert "&lt;x&gt;.py:4 serve" in page
    assert "<x>" not in page


def test_dot() -> None:
    text = drawn(GRAPH, "dot")
    assert text.startswith("digraph")
    assert text.count(" -> ") == 5
    assert "n2 -> n3" in text


@pytest.mark.parametrize("kind", ["svg", "json"])
def test_it_is_drawn_at_exit(kind: str, run_script: Any, tmp_path: Any) -> None:
    out = tmp_path / f"out.{kind}"
    run_script(
        """
        import threading, time
        def nap():
            time.sleep(0.01)
        threads = [threading.Thread(target=nap) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        """,
        options=("-m", "capriccio_patch", "--graph", str(out)),
    )
    text = out.read_text()
    assert "nap" in text
    if kind == "svg":
        ET.fromstring(text)


def test_a_file_that_cannot_be_written(run_script: Any, tmp_path: Any) -> None:
    options = ("-m", "capriccio_patch", "--graph", str(tmp_path / "absent" / "out.svg"))
    done = run_script("print('done')", options=options)
    assert done.stdout == "done\n"
    assert "no graph is drawn" in done.stderr


def test_a_suffix_that_means_nothing() -> None:
    with pytest.raises(ConfigError, match=r"graph='out.png': must be .*\.svg, \.dot"):
        capriccio_patch.patch_all(graph="out.png")
