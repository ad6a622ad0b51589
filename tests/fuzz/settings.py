"""How the patched run of a program is patched: policy, schemes, slice, and when."""

from __future__ import annotations

import random
import select
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import capriccio_patch

ROOT = Path(__file__).resolve().parents[2]
BSD = ROOT / "tests/fakes/bsd"

_CHOICES: dict[str, list[str]] = {
    "scheduler": ["fifo", "lifo", "priority", "graph", "random", "random"],
    "sockio": ["auto", "auto", "epoll", "poll", "select", "io_uring", "thread", "kqueue"],
    "diskio": ["auto", "auto", "nowait", "io_uring", "workers", "blocking"],
    "slice": ["", "", "0.003", "0.001", "0.0003", "0.0003"],
    "late": ["", "", "", "", "1"],
    "core": ["", "", "python"],
    "processors": ["", "", "", "3"] if sys.version_info >= (3, 12) else [""],
}

_LINUX = ("nowait", "io_uring")
"""Disk schemes that the stand-in for a BSD lacks."""


@dataclass(frozen=True)
class Settings:
    """Values as in the environment; empty is the default.  `late` patches in the middle."""

    scheduler: str = ""
    seed: str = ""
    sockio: str = ""
    diskio: str = ""
    slice: str = ""
    late: str = ""
    core: str = ""
    processors: str = ""

    @classmethod
    def choose(cls, seed: int, given: Mapping[str, str]) -> Settings:
        """Those of a program's seed, but for those given; what can't run here becomes auto."""
        rng = random.Random(f"settings {seed}")
        chosen = {name: rng.choice(values) for name, values in _CHOICES.items()} | dict(given)
        if chosen["scheduler"] == "random":
            chosen.setdefault("seed", str(seed))
        lacking = {
            "sockio": capriccio_patch.available_backends(),
            "diskio": capriccio_patch.available_disk_backends(),
        }
        for name, reasons in lacking.items():
            if name not in given and reasons.get(chosen[name]) and chosen[name] != "kqueue":
                chosen[name] = "auto"
        if chosen["sockio"] == "kqueue" and chosen["diskio"] in _LINUX and "diskio" not in given:
            chosen["diskio"] = "workers"
        return cls(**chosen)

    def environ(self) -> dict[str, str]:
        """What the environment of a run has more than others."""
        names = {f"CAPRICCIO_{k.upper()}": v for k, v in asdict(self).items() if k != "late" and v}
        fake = self.sockio == "kqueue" and not hasattr(select, "kqueue")
        path = f"{BSD}:{ROOT}" if fake else str(ROOT)
        return names | {"CAPRICCIO_BLOCKED": "off", "PYTHONPATH": path, "FUZZ_LATE": self.late}

    def simpler(self) -> Iterator[str]:
        """Names of what differs from the default."""
        return (name for name, value in asdict(self).items() if value)

    def exact(self) -> str:
        """All of them, as `parse` takes them."""
        return ",".join(f"{name}={value}" for name, value in asdict(self).items())

    def __str__(self) -> str:
        return " ".join(f"{k}={v}" for k, v in asdict(self).items() if v) or "defaults"


def parse(text: str) -> dict[str, str]:
    """``scheduler=fifo,slice=0.001`` as a dict; ValueError names what is not a setting."""
    given: dict[str, Any] = {}
    for each in filter(None, text.split(",")):
        name, _, value = each.partition("=")
        if name not in {field.name for field in fields(Settings)}:
            raise ValueError(f"no setting is called {name!r}")
        given[name] = value
    return given
