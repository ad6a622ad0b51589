"""What a blocking graph consists of: the records that are handed out, and those being recorded."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..cpython.frames import is_stdlib

__all__ = ["WEIGHT", "Averages", "BlockingGraph", "Edge", "Node", "Place"]

WEIGHT = 1 / 16  # of the newest sample in an average


class Node(NamedTuple):
    """One place where threads wait."""

    number: int
    """What edges refer to."""
    kind: str
    """"read", "write", "accept", "lock", "event", "sleep", ...; "yield" where a thread has been
    preempted or has stepped aside; "start" and "end" of threads."""
    chain: tuple[tuple[str, int, str], ...]
    """The program's calls that lead there, outermost first: (file, line, function)."""
    parked: int
    """Threads that wait there now."""
    mean_parked: float
    """Threads that waited there on average, since the patch."""
    moves: int
    """How often threads went on from there, as sampled."""
    cpu: float
    """Seconds of CPU time that a thread uses from there to its next wait, on average."""
    memory: float
    """Bytes that it takes (gives back, if below 0)."""
    descriptors: float
    """Descriptors that it opens (closes, if below 0)."""

    @property
    def name(self) -> str:
        """The innermost place that is not the standard library's: ``file.py:12 function``."""
        if not self.chain:
            return ""
        file, line, function = next(
            (place for place in reversed(self.chain) if not is_stdlib(place[0])), self.chain[-1]
        )
        line_part = f":{line}" if line else ""
        return f"{file.rpartition('/')[2]}{line_part} {function}"


class Edge(NamedTuple):
    """The moves from one node to another."""

    source: int
    target: int
    moves: int
    """How many there were, as sampled."""
    cpu: float
    memory: float
    descriptors: float
    """Averages for one move, as those of `Node`."""


class BlockingGraph(NamedTuple):
    """What `capriccio_patch.blocking_graph` returns."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    sampled: int
    """How many moves were looked at; 0: only what is parked now is known."""
    moves: int
    """How many there were."""
    seconds: float
    """For how long."""

    def as_dict(self) -> dict[str, Any]:
        """The same in plain lists and dicts, for JSON."""
        return {
            "nodes": [node._asdict() | {"name": node.name} for node in self.nodes],
            "edges": [edge._asdict() for edge in self.edges],
            "sampled": self.sampled,
            "moves": self.moves,
            "seconds": self.seconds,
        }


class Averages:
    """What moves use, on average."""

    __slots__ = ("count", "cpu", "descriptors", "memory", "samples")

    def __init__(self) -> None:
        self.samples = self.count = 0
        self.cpu = self.memory = self.descriptors = 0.0

    def add(self, weight: int, cpu: float, memory: float | None, descriptors: int) -> None:
        """One sample, which stands for `weight` moves."""
        self.samples += 1
        self.count += weight
        share = max(WEIGHT, 1.0 / self.samples)
        self.cpu += (cpu - self.cpu) * share
        self.descriptors += (descriptors - self.descriptors) * share
        if memory is not None:
            self.memory += (memory - self.memory) * share


class Place(Averages):
    """A node that is being recorded; its averages are those of all moves from it."""

    __slots__ = ("chain", "kind", "moves", "number", "outlook", "waited")

    def __init__(self, number: int, kind: str, chain: tuple[tuple[str, int, str], ...]) -> None:
        super().__init__()
        self.number = number
        self.kind = kind
        self.chain = chain
        self.waited = 0.0
        self.moves: dict[Place, Averages] = {}
        self.outlook = 0.0
        """For a policy: what a thread that is here will do to a resource, in the long run."""
