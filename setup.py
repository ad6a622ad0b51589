"""Builds the compiled core where that can be done; without it the package runs in Python."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CORE = Path("capriccio_patch/core")
SUSPENDED = "capriccio_patch/cpython/suspended.c"
WARNINGS = ("-Wall", "-Wextra", "-Wno-missing-field-initializers")


def why_not() -> str | None:
    """Why the core can't be built for this interpreter; None if it can be tried."""
    if sys.implementation.name != "cpython":
        return "it is for CPython"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "it is for a CPython with a global lock"
    try:
        import greenlet  # noqa: F401
    except ImportError:
        return "greenlet, whose header it needs, is not installed"
    return None


def core() -> Extension:
    """The compiled core; its C files are those in the folder."""
    include = []
    if why_not() is None:
        import greenlet

        include.append(str(Path(greenlet.__file__).parent))
        # Debian keeps a header of each machine beside its folder of headers, wherever that lies.
        beside = Path(sysconfig.get_path("include")).parent
        if (beside / str(sysconfig.get_config_var("MULTIARCH"))).is_dir():
            include.append(str(beside))
    return Extension(
        "capriccio_patch.core._core",
        sources=sorted(str(path) for path in CORE.glob("*.c")),
        depends=sorted(str(path) for path in CORE.glob("*.h")),
        include_dirs=include,
        extra_compile_args=["-std=c11", "-fvisibility=hidden", *WARNINGS],
        optional=True,
    )


def suspended() -> list[Extension]:
    """What ``cpython/suspended.py`` needs, if this interpreter does."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED") or sys.version_info[:2] != (3, 14):
        return []
    headers = Path(sysconfig.get_path("include")) / "internal"
    return [
        Extension(
            "capriccio_patch.cpython._suspended",
            sources=[SUSPENDED],
            include_dirs=[str(headers)],
            extra_compile_args=["-std=c11", *WARNINGS, "-Wno-unused-parameter"],
            optional=True,
        )
    ]


class Build(build_ext):
    """Says in one line why there is no compiled core, and goes on."""

    def build_extension(self, ext: Any) -> None:
        """Build `ext`, if that can be done."""
        is_core = ext.name.endswith("._core")
        reason = why_not() if is_core else None
        if reason is None:
            try:
                super().build_extension(ext)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            what = "compiled core, the package runs in Python" if is_core else ext.name
            print(f"no {what}: {reason}", file=sys.stderr)


setup(ext_modules=[core(), *suspended()], cmdclass={"build_ext": Build})
