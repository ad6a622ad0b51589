"""ddtrace is told not to load `threading` and `_thread` again, by a package that stands for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SWITCH = "DD_UNLOAD_MODULES_FROM_SITECUSTOMIZE"
SITECUSTOMIZE = f"""
import os, sys
if os.environ.get("{SWITCH}", "auto") in ("auto", "1"):
    for name in "threading", "_thread", "time":
        del sys.modules[name]
"""
PROGRAM = """
import os, threading
import capriccio_patch
{first}
import ddtrace.auto
import threading as again
assert (again is threading) is {same}
assert os.environ.get({switch!r}) == {left!r}
"""


@pytest.fixture
def ddtrace(tmp_path: Path, environ: dict[str, str]) -> dict[str, str]:
    """The environment with a `ddtrace` that unloads modules unless it is told not to."""
    (tmp_path / "ddtrace" / "bootstrap").mkdir(parents=True)
    for name in "", "bootstrap/":
        (tmp_path / "ddtrace" / name / "__init__.py").touch()
    (tmp_path / "ddtrace" / "auto.py").write_text("import ddtrace.bootstrap.sitecustomize")
    (tmp_path / "ddtrace" / "bootstrap" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return {"PYTHONPATH": f"{tmp_path}:{environ['PYTHONPATH']}"}


@pytest.mark.parametrize(
    ("first", "set_to", "same"),
    [
        ("capriccio_patch.patch_all()", None, True),
        ("capriccio_patch.patch_all()", "0", True),
        ("capriccio_patch.patch_all(exclude=['ddtrace'])", "0", True),
        ("", None, False),
        ("capriccio_patch.patch_all(exclude=['ddtrace'])", None, False),
        ("capriccio_patch.patch_all()", "1", False),
    ],
)
def test_it_unloads_nothing_unless_the_program_says_so(
    run_script: Any, ddtrace: dict[str, str], first: str, set_to: str | None, same: bool
) -> None:
    program = PROGRAM.format(first=first, same=same, switch=SWITCH, left=set_to)
    run_script(program, env=ddtrace | ({} if set_to is None else {SWITCH: set_to}))
