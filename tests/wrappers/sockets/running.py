"""Running functions as threads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any


def run_all(*targets: Callable[[], Any]) -> list[Any]:
    """Run the targets as threads; their results, in order, or the first error."""
    results: list[Any] = [None] * len(targets)
    errors: list[BaseException] = []

    def call(index: int) -> None:
        try:
            results[index] = targets[index]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(targets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return results


def fill(sock: socket.socket, send: Callable[[], Any]) -> int:
    """Call `send` until `sock` would have to wait; how often it did not."""
    sock.setblocking(False)
    count = 0
    try:
        while True:
            send()
            count += 1
    except BlockingIOError:
        sock.setblocking(True)
        return count
