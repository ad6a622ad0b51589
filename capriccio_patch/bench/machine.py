"""What a measurement was taken on: the machine, the system, the interpreter, the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import psutil

__all__ = ["commit", "describe"]


def describe() -> dict[str, str]:
    """Processor, processors, memory, system and Python, each in a few words."""
    memory = psutil.virtual_memory().total
    return {
        "processor": _processor(),
        "processors": str(os.cpu_count()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str:
    """The package's commit, with a + for changes since; "unknown" outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
