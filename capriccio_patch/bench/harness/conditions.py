"""What a measurement was taken under: the machine, its kernel's settings, versions, date.

Figures mean nothing without it, so every result holds it or a part of it.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

import capriccio_patch

__all__ = [
    "commit",
    "describe",
    "headline",
    "lines",
    "machine",
    "now",
    "setting",
    "usable_cpus",
    "versions",
]

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
    return {
        "date": now(),
        "machine": machine(),
        "commit": commit(),
        "cpus": usable_cpus(),
        "memory_available": psutil.virtual_memory().available,
        "load": psutil.getloadavg(),
        "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "settings": {name: value for name in _SETTINGS if (value := setting(name)) is not None},
        "versions": {"capriccio_patch": capriccio_patch.__version__} | versions(_PACKAGES),
    }


def machine() -> dict[str, str]:
    """Processor, processors, memory, system and Python, each in a few words."""
    memory = psutil.virtual_memory().total
    return {
        "processor": _processor(),
        "processors": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def headline() -> str:
    """The machine and the commit in one line."""
    return f"{'; '.join(machine().values())}; commit {commit()}"


def now() -> str:
    """Date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z")


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The package's commit, with a + for changes since; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


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


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
