"""What the runtime does in a forked child comes before the hooks of the program."""

from __future__ import annotations

import os

import pytest

from tests.conftest import RunScript

_ORDER = """
import os

calls = []

def note(call):
    return lambda: calls.append(call)

def hooks(name):
    return [note(f"{name} {when}") for when in ("before", "in the parent", "in the child")]

before, parent, child = hooks("program's")
os.register_at_fork(before=before, after_in_parent=parent, after_in_child=child)
from capriccio_patch.cpython.fork_hooks import register_first
os.register_at_fork(after_in_child=note("late in the child"))
register_first(*hooks("our"))
pid = os.fork()
if not pid:
    os.write(1, ", ".join(calls).encode())
    os._exit(0)
os.waitpid(pid, 0)
print(";", ", ".join(calls))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_the_child_calls_ours_first(run_script: RunScript) -> None:
    before = "our before, program's before"  # these are called last first
    child = f"{before}, our in the child, program's in the child, late in the child"
    parent = f"{before}, program's in the parent, our in the parent"
    assert run_script(_ORDER).stdout == f"{child}; {parent}\n"
