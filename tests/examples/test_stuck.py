"""The programs of ``examples/stuck``: their reports name what is to be mended.

The reports are those that the programs give when nothing is asked for.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

STUCK = Path(__file__).resolve().parents[2] / "examples" / "stuck"

EXPECTED: dict[str, list[str | tuple[str, ...]]] = {
    "two_locks": [
        "deadlock: none of the 3 threads can run again, and nothing from outside can wake one",
        (  # who waits for longer comes first
            (
                "the circle: Thread-1 (save) -> [Lock savings at 0x...] -> Thread-2 (spend) -> "
                "[Lock checking at 0x...] -> Thread-1 (save)"
            ),
            (
                "the circle: Thread-2 (spend) -> [Lock checking at 0x...] -> Thread-1 (save) -> "
                "[Lock savings at 0x...] -> Thread-2 (spend)"
            ),
        ),
        (
            "for Lock savings at 0x..., which Thread-2 (spend) holds since two_locks.py:18, in "
            "spend: with savings:"
        ),
        (
            "for Lock checking at 0x..., which Thread-1 (save) holds since two_locks.py:11, in "
            "save: with checking:"
        ),
        (
            "MainThread, at the end of the program, has waited ... for the end of Thread-1 (save)",
            "MainThread, at the end of the program, has waited ... for the end of Thread-2 (spend)",
        ),
        (
            "look at first, two_locks.py:13\n  with savings:",
            "look at first, two_locks.py:20\n  with checking:",
        ),
    ],
    "join": [
        (
            "flusher has waited ... in Event.wait for threading.Event stop at 0x...: "
            "nobody is left to set it"
        ),
        (
            "MainThread has waited ... for the end of flusher\n"
            '  File "FILE", line 15, in <module>\n    flusher.join()\n'
        ),
        "look at first, join.py:10\n  stop.wait()",
    ],
    "queue_without_producers": [
        "none of the 101 threads can run again",
        "100 threads (worker-",
        (
            ") have waited ... in Queue.get for queue.Queue jobs at 0x... (0 items): "
            "nobody is left to put something there"
        ),
        "look at first, queue_without_producers.py:11\n  job = jobs.get()",
    ],
    "condition": [
        "in Condition.wait for threading.Condition changed at 0x...: nobody is left to notify it",
        "look at first, condition.py:13\n  changed.wait()",
    ],
    "pool": [
        (
            "pool_0 has waited ... in Future.result for concurrent.futures._base.Future at 0x... "
            "(pending): nobody is left to give it a result\n"
            '  File "FILE", line 13, in page\n'
        ),
        "MainThread has waited ... in Future.result",
        "(running), which pool_0 computes\n",
        "look at first, pool.py:13\n  picture = pool.submit(thumbnail).result()",
    ],
    "semaphore": [
        (
            "fetch-4, fetch-5 have waited ... in Semaphore.acquire for threading.Semaphore permits "
            "at 0x... (value 0): nobody is left to release it (it was acquired more often than "
            "released)"
        ),
        "look at first, semaphore.py:9\n  permits.acquire()",
    ],
    "partial": [
        "deadlock: 2 threads wait for each other, while others go on",
        (
            "the circle: Thread-1 (rename) -> [RLock log at 0x...] -> Thread-2 (rotate) -> "
            "[Lock users at 0x...] -> Thread-1 (rename)"
        ),
        "which Thread-2 (rotate) holds since partial.py:20, in rotate: with log:",
        "which Thread-1 (rename) holds since partial.py:13, in rename: with users:",
        "look at first, partial.py:15\n  with log:",
    ],
    "partial_pool": [
        (
            "deadlock: all 2 threads of a pool wait for calls that the pool has yet to make, while "
            "others go on"
        ),
        "pool_0, pool_1 have waited ... in Future.result: no thread is left to make the call",
        "look at first, partial_pool.py:17\n  picture = pool.submit(thumbnail).result()",
    ],
    "partial_queue": [
        "deadlock: 2 threads wait for each other, while others go on that can't reach what these",
        "Thread-2 (bill) -> [queue.Queue receipts at 0x... (0 items)] -> Thread-1 (pack)",
        (
            "Thread-1 (pack) has waited ... in Queue.get for queue.Queue orders at 0x... (0 "
            "items): only Thread-2 (bill) could put something there, at partial_queue.py:20, in "
            'bill: orders.put(f"next after {receipt}")'
        ),
        (
            "look at first, partial_queue.py:13\n  order = orders.get()",
            "look at first, partial_queue.py:19\n  receipt = receipts.get()",
        ),
    ],
    "in_c": [
        "has kept all other threads (2) waiting for",
        "in usleep of ",
        'File "FILE", line 10, in resize_picture\n    library.usleep(1_500_000)\n',
        "capriccio_patch.offload() or CAPRICCIO_OFFLOAD has such calls made on OS threads",
    ],
    "handler": [
        "deadlock: MainThread, in the handler of SIGUSR1, waits for what it holds itself",
        (
            "for Lock statistics at 0x..., which MainThread holds since handler.py:17, in "
            "<module>: with statistics:"
        ),
        "look at first, handler.py:12\n  with statistics:",
    ],
}


_LIMIT = 30.0
"""Seconds for all of them to be told, on a machine that is busy."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each tells, which run at the same time, until its report is whole."""
    folder = tmp_path_factory.mktemp("stuck")
    with ExitStack() as stack:
        for name in EXPECTED:
            process = subprocess.Popen(
                [sys.executable, "-m", "capriccio_patch", str(STUCK / f"{name}.py")],
                cwd=STUCK.parents[1],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stack.enter_context((folder / name).open("wb")),
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        deadline = time.monotonic() + _LIMIT
        while True:
            texts = {name: _plain((folder / name).read_text(), name) for name in EXPECTED}
            if not any(_missing(*each) for each in texts.items()) or time.monotonic() > deadline:
                break
            time.sleep(0.05)
    return texts


def _plain(text: str, name: str) -> str:
    text = re.sub(r"\b0x[0-9a-f]+", "0x...", text)
    text = re.sub(r"waited \d+\.\d s", "waited ...", text)
    return text.replace(str(STUCK / f"{name}.py"), "FILE")


def _missing(name: str, text: str) -> list[str | tuple[str, ...]]:
    """What is to be in the text, or one of what, and is not."""
    return [
        each
        for each in EXPECTED[name]
        if not any(one in text for one in ((each,) if isinstance(each, str) else each))
    ]


def test_there_are_no_others() -> None:
    assert {path.stem for path in STUCK.glob("*.py")} == EXPECTED.keys()


@pytest.mark.one_processor
@pytest.mark.parametrize("name", EXPECTED)
def test_the_report_names_the_line_to_mend(reports: dict[str, str], name: str) -> None:
    assert not _missing(name, reports[name]), reports[name]
