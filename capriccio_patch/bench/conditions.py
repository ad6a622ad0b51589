"""What the paper's figures were taken under: the machine, its kernel's settings, versions, date.

Figures mean nothing without it, so every folder of results holds one `describe()`.
"""

from __future__ import annotations

import os
import resource
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

import capriccio_patch

from . import machine

_PACKAGES = ("greenlet", "wrapt", "psutil", "gevent", "eventlet", "uvloop", "matplotlib")
_SETTINGS = (
    "vm.max_map_count",
    "vm.overcommit_memory",
    "kernel.threads-max",
    "kernel.pid_max",
    "fs.file-max",
    "net.core.somaxconn",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.ip_local_port_range",
)


def describe() -> dict[str, Any]:
    """Machine, system, settings that bound what can be run, versions and date, for JSON."""
    versions = {"capriccio_patch": capriccio_patch.__version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "machine": machine.describe(),
        "commit": machine.commit(),
        "cpus": usable_cpus(),
        "memory_available": psutil.virtual_memory().available,
        "load": psutil.getloadavg(),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "settings": {name: value for name in _SETTINGS if (value := setting(name)) is not None},
        "versions": versions,
    }


def lines(description: dict[str, Any]) -> list[tuple[str, str]]:
    """`description`, of `describe`, as pairs of a name and a text for readers."""
    computer = description["machine"]
    available = description["memory_available"] / (1 << 30)
    return [
        ("date", description["date"]),
        ("processor", f"{computer['processor']}, {description['cpus']} CPUs usable"),
        ("memory", f"{computer['memory']}, of which {available:.1f} GiB available at the start"),
        ("load at the start", ", ".join(f"{load:.1f}" for load in description["load"])),
        ("system", computer["system"]),
        ("Python", computer["python"]),
        ("packages", ", ".join(f"{name} {it}" for name, it in description["versions"].items())),
        ("commit", description["commit"]),
        ("descriptors", f"{description['descriptors']} for each process"),
        ("settings", ", ".join(f"{name} = {it}" for name, it in description["settings"].items())),
    ]


def setting(name: str) -> str | None:
    """The value of a kernel setting (sysctl); None where there is no such file."""
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip().replace("\t", " ")
    except OSError:
        return None


def usable_cpus() -> int:
    """How many CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
