"""What calls with odd arguments say: prints JSON, {name: {call: answer}}.

    python odd_calls.py NAMES          the names, one a line, of what is called; under stock
    python odd_calls.py NAMES patched  the same under the patch

Each name is called in a forked child, which an alarm ends where a call waits.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import Any

if sys.argv[2:]:
    import capriccio_patch

    capriccio_patch.patch_all()

import asyncio
import faulthandler
import fcntl
import io
import multiprocessing
import queue
import select
import socket
import sqlite3
import ssl
import threading
import warnings

LOADED = (asyncio, faulthandler, fcntl, multiprocessing, queue, select, socket, sqlite3, ssl)

MAKE: dict[str, Callable[[], Any]] = {
    "LockType": threading.Lock,
    "lock": threading.Lock,
    "RLock": threading.RLock,
    "SimpleQueue": queue.SimpleQueue,
    "socket": lambda: socket.socketpair()[0],
    "DirEntry": lambda: next(os.scandir(".")),
    "FileIO": lambda: io.FileIO("file", "r+"),
    "SemLock": lambda: multiprocessing.Semaphore()._semlock,  # type: ignore[attr-defined]
}
if hasattr(select, "epoll"):
    MAKE["epoll"] = select.epoll


class Odd:
    """Of no use to anybody."""

    def __repr__(self) -> str:
        return "<Odd>"


ODD = Odd()
NOWHERE = 99_999
ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((), {"odd_name": 1}),
    *(((ODD,) * n, {}) for n in range(1, 5)),
    ((None,), {}),
    ((None,) * 20, {}),
    (("x", "y"), {}),
    ((1.5,), {}),
    ((NOWHERE,), {"odd_name": 1}),
    ((10**30, 1), {}),
]

# They must not be made by mistake.
ONLY_REFUSED = {
    *("posix.fork", "posix.forkpty", "posix.wait", "_signal.pause", "builtins.input"),
    *("_thread.start_new_thread", "_thread.start_new", "_thread.start_joinable_thread"),
}


def find(name: str) -> tuple[Any, Any]:
    """What is called so, and what it is an attribute of."""
    module, _, path = name.partition(".")
    parent, found = None, sys.modules[module]
    for part in path.split("."):
        parent, found = found, getattr(found, part)
    return parent, found


def answer(call: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> str:
    """What the call raises or returns."""
    try:
        result = call(*args, **named)
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
    else:
        text = f"a {type(result).__name__}"
    return re.sub("0x[0-9a-f]+", "0x", text)


def call_all(name: str, writer: int) -> None:
    """In the child: write a line for each call."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    parent, found = find(name)
    calls = {"": found}
    if isinstance(parent, type) and parent.__name__ in MAKE:
        calls["of one"] = getattr(MAKE[parent.__name__](), name.rpartition(".")[2])
    for how, call in calls.items():
        for args, named in ARGUMENTS:
            if name in ONLY_REFUSED and not named and len(args) < 20:
                continue
            signal.alarm(2)
            line = [f"{how} {args} {named}", answer(call, args, named)]
            os.write(writer, json.dumps(line).encode() + b"\n")


def answers(name: str) -> dict[str, str]:
    """Of all calls of `name`, up to one that does not return."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            call_all(name, writer)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    with open(reader, "rb") as file:
        lines = file.read().splitlines()
    os.waitpid(pid, 0)
    return dict(json.loads(line) for line in lines if line.endswith(b"]"))


def main() -> None:
    """Print them all."""
    warnings.simplefilter("ignore")
    with open(sys.argv[1]) as file:
        names = file.read().split()
    os.chdir(tempfile.mkdtemp())
    with open("file", "wb") as made:
        made.write(b"x")
    found: dict[str, dict[str, str]] = {}
    for name in names:
        try:
            find(name)
        except (AttributeError, KeyError):
            continue
        found[name] = answers(name)
    print(json.dumps(found))


main()
