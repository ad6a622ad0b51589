"""Programs with three kernels, in an interpreter of their own."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable

import pytest

from tests.conftest import RunScript

BEGIN = '''
import os, sys, threading, time
import capriccio_patch
from capriccio_patch import api
from capriccio_patch.kernel import processors
from capriccio_patch.processors import choice

choice.also_with_gil = True
capriccio_patch.patch_all(processors=3)

MAIN, SECOND, THIRD = api._applied.runtime.kernel.all()

processors.Processor.help_others = lambda self: None  # threads begin where they are to

def started(threads, kernels):
    kernels = iter(kernels)
    place = processors.Processors.place
    processors.Processors.place = lambda self: next(kernels, None) or place(self)
    for thread in threads:
        thread.start()
    processors.Processors.place = place

def on(kernel, function):
    """What `function` returns or raises in a thread of a kernel."""
    def run():
        assert kernel.is_mine()
        try:
            outcome.append(function())
        except BaseException as error:
            failed.append(error)
    outcome, failed = [], []
    thread = threading.Thread(target=run)
    started([thread], [kernel])
    thread.join()
    if failed:
        raise failed[0]
    return outcome[0]

def elsewhere(function):
    return on(SECOND, function)

def spread(*functions):
    """Call each in a thread, on all kernels in turn; when all are over."""
    threads = [threading.Thread(target=each) for each in functions]
    started(threads, [MAIN, SECOND, THIRD] * len(functions))
    for thread in threads:
        thread.join()
'''

needs_monitoring = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="several processors need sys.monitoring"
)


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    """As ever, but whichever form of the core is tested: several kernels have but one."""
    return {name: value for name, value in environ.items() if name != "CAPRICCIO_CORE"}


@pytest.fixture
def several(run_script: RunScript) -> Callable[..., str]:
    """``several(code)``: what a program with three kernels prints.

    It has ``elsewhere(function)``, which has it called on another kernel than the main one, and
    ``spread(*functions)``, which has them called in threads of all kernels.
    """

    def run(code: str, status: int = 0) -> str:
        text = BEGIN + textwrap.dedent(code)
        return run_script(text, status=status, timeout=60).stdout

    return run
