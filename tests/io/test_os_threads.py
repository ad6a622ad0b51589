"""OS threads of the package's own take no signals, and what they execute has the caller's mask."""

from __future__ import annotations

from typing import Any

from tests.conftest import ROOT

_BLOCKED_LATER = """
import os, signal, threading, time
import capriccio_patch
capriccio_patch.patch_all()
event = threading.Event()
thread = threading.Thread(target=event.wait, daemon=True)
thread.start()
while not capriccio_patch.status()["os_threads"]:
    time.sleep(0.001)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
for _ in range(20):
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.sigpending() == {signal.SIGUSR1}
    assert signal.sigwait([signal.SIGUSR1]) == signal.SIGUSR1
event.set()
thread.join()
print("done")
"""

_MASKS = """
import signal, threading
import capriccio_patch
capriccio_patch.patch_all()
capriccio_patch.offload("module.masks")
import module
event = threading.Event()
thread = threading.Thread(target=event.wait, daemon=True)
thread.start()
for blocked in (set(), {signal.SIGUSR1}):
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert module.masks() == [blocked, blocked]
event.set()
thread.join()
print("done")
"""

_MODULE = """
import signal, subprocess, sys
def masks():
    mine = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    code = "import signal; print(*map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    return [mine, {*map(int, done.stdout.split())}]
"""


def test_a_signal_that_the_program_blocks_later_stays_pending(run_script: Any) -> None:
    assert run_script(_BLOCKED_LATER).stdout == "done\n"


def test_an_offloaded_function_and_what_it_executes_have_the_callers_mask(
    run_script: Any, tmp_path: Any
) -> None:
    (tmp_path / "module.py").write_text(_MODULE)
    assert run_script(_MASKS, env={"PYTHONPATH": f"{tmp_path}:{ROOT}"}).stdout == "done\n"
