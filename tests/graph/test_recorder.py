"""The blocking graph: nodes are places, edges what threads do in between."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.errors import PatchError
from capriccio_patch.graph.model import BlockingGraph, Node


@pytest.fixture(params=["graph", "fifo", "lifo", "priority"])
def recorded(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[None]:
    """The patch, with the graph recorded."""
    graph = None if request.param == "graph" else str(tmp_path / "out.json")
    capriccio_patch.patch_all(scheduler=request.param, graph=graph)
    try:
        yield
    finally:
        capriccio_patch.unpatch_all()


def here(graph: BlockingGraph, function: str) -> list[Node]:
    return [node for node in graph.nodes if node.name.endswith(function)]


def test_without_a_patch_it_is_empty() -> None:
    assert capriccio_patch.blocking_graph() == BlockingGraph((), (), 0, 0, 0.0)


@pytest.mark.one_processor
@pytest.mark.parametrize("scheduler", ["fifo", "lifo", "priority", "random", "graph"])
def test_what_is_parked_is_known_under_any_scheduler(scheduler: str) -> None:
    capriccio_patch.patch_all(scheduler=scheduler)
    go = threading.Event()

    def wait_here() -> None:
        go.wait()

    threads = [threading.Thread(target=wait_here) for _ in range(7)]
    try:
        for thread in threads:
            thread.start()
        graph = capriccio_patch.blocking_graph()
        while sum(node.parked for node in here(graph, "wait_here")) < 7:
            time.sleep(0.001)
            graph = capriccio_patch.blocking_graph()
        (node,) = (node for node in here(graph, "wait_here") if node.kind != "start")
    finally:
        go.set()
        for thread in threads:
            thread.join()
        capriccio_patch.unpatch_all()
    assert (node.kind, node.parked) == ("event", 7)
    assert node.chain[-1][2].endswith("wait_here")
    assert not any("capriccio_patch" in file for file, _, _ in node.chain)


def opens() -> None:
    fds: list[int] = []
    for _ in range(60):
        time.sleep(0)
        fds.append(os.open(os.devnull, os.O_RDONLY))
    for fd in fds:
        time.sleep(0)
        os.close(fd)


@pytest.mark.one_processor
def test_descriptors_are_learned(recorded: None) -> None:
    """From one place they are taken, from the other given back."""
    thread = threading.Thread(target=opens)
    thread.start()
    thread.join()
    graph = capriccio_patch.blocking_graph()
    yields = [node for node in here(graph, "opens") if node.kind == "yield"]
    taking, giving = sorted(yields, key=lambda node: -node.descriptors)
    assert taking.descriptors > 0.8
    assert giving.descriptors < -0.8
    numbers = {node.number: node.kind for node in graph.nodes}
    edges = {(numbers[edge.source], numbers[edge.target]) for edge in graph.edges}
    assert ("start", "yield") in edges
    assert ("yield", "end") in edges


@pytest.mark.one_processor
def test_moves_and_cpu_time_are_counted(recorded: None) -> None:
    sys.setswitchinterval(60)  # none is preempted

    def computes() -> None:
        for _ in range(30):
            time.sleep(0)
            sum(range(20_000))

    thread = threading.Thread(target=computes)
    thread.start()
    thread.join()
    graph = capriccio_patch.blocking_graph()
    (node,) = (each for each in here(graph, "computes") if each.kind == "yield")
    assert node.moves == 30
    assert node.cpu > 0.00005
    (edge,) = (each for each in graph.edges if each.source == each.target == node.number)
    assert edge.moves == 29
    assert graph.sampled <= graph.moves


@pytest.mark.one_processor
@pytest.mark.wall_clock
def test_threads_parked_on_average(recorded: None) -> None:
    def sleeps() -> None:
        time.sleep(0.2)

    time.sleep(0.01)  # the kernel's time is that of its last poll
    begun = time.monotonic()
    threads = [threading.Thread(target=sleeps) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    graph = capriccio_patch.blocking_graph()
    passed = time.monotonic() - begun
    (node,) = here(graph, "sleeps")[1:]
    assert node.kind == "sleep"
    assert 0.8 <= node.mean_parked * graph.seconds <= 5 * passed + 0.6


@pytest.mark.one_processor
def test_a_listener_is_told_from_a_connection(recorded: None) -> None:
    import socket

    def kinds() -> set[str]:
        return {node.kind for node in here(capriccio_patch.blocking_graph(), "serves")}

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serves() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(10)

        thread = threading.Thread(target=serves)
        thread.start()
        while "accept" not in kinds():
            time.sleep(0.001)
        assert kinds() == {"start", "accept"}
        with socket.create_connection(server.getsockname()) as connection:
            while "read" not in kinds():
                time.sleep(0.001)
            connection.sendall(b"x")
            thread.join()
        assert kinds() == {"start", "accept", "read"}


def test_on_an_os_thread_it_is_refused(patched: None) -> None:
    errors = []
    done = threading.Event()

    def outside() -> None:
        try:
            capriccio_patch.blocking_graph()
        except PatchError as error:
            errors.append(error)
        done.set()

    capriccio_patch.original("_thread.start_new_thread")(outside, ())
    done.wait()
    assert len(errors) == 1


def test_places_are_bounded() -> None:
    """A program that makes up code does not make the graph grow for ever."""
    from capriccio_patch.graph.recorder import MOST, Recorder
    from tests.simulation import Simulation

    recorder = Recorder(Simulation().kernel)
    for number in range(MOST + 50):
        recorder._known("sleep", (("file", number, "function"),))
    assert len(recorder.places) <= MOST + 2
    assert recorder._known("sleep", (("file", -1, "function"),)).kind == "other"


def test_samples_are_spaced_by_what_they_cost() -> None:
    from capriccio_patch.graph.recorder import EAGER, SHARE, Recorder
    from tests.simulation import Simulation

    recorder = Recorder(Simulation().kernel)
    assert recorder.spacing() == 1
    recorder.sampled = EAGER
    recorder._cost, recorder.cpu = 10_000.0, 20_000.0
    spaces = [recorder.spacing() for _ in range(2_000)]
    assert sum(spaces) / len(spaces) == pytest.approx(0.5 / SHARE, rel=0.1)
    assert len(set(spaces)) > 10
