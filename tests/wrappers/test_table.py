"""The table: what a family needs is passed to it, so its rows may be applied in any order."""

from __future__ import annotations

import inspect

import pytest

from capriccio_patch.wrappers.base import Runtime
from tests.conftest import RunScript

_SHUFFLED = """
import random
import sys
from capriccio_patch.wrappers import table

made = table.Table.__init__

def shuffled(self, *args):
    made(self, *args)
    random.Random(int(sys.argv[1])).shuffle(self.rows)

table.Table.__init__ = shuffled

import queue
import socket
import threading
import time
import capriccio_patch

early = socket.socketpair()
early[0].settimeout(5)
sleep = time.sleep
capriccio_patch.patch_all()
assert capriccio_patch.status()["failed"] == {}
done = queue.Queue()

def work(number):
    one, other = socket.socketpair()
    threading.Timer(0.01, other.send, (b"x",)).start()
    one.recv(1)
    done.put(number)

threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
for each in threads:
    each.start()
threading.Timer(0.01, early[1].send, (b"x",)).start()
assert early[0].recv(1) == b"x"
for each in threads:
    each.join()
print(sorted(done.get() for _ in threads) == list(range(20)), capriccio_patch.status()["threads"])
capriccio_patch.unpatch_all()
print(early[0].gettimeout(), sleep is time.sleep)
"""


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_rows_may_be_applied_in_any_order(run_script: RunScript, seed: str) -> None:
    assert run_script(_SHUFFLED, seed).stdout == "True 1\n5.0 True\n"


def test_what_every_wrapper_gets_is_typed() -> None:
    """What only some need is passed to those."""
    kinds = inspect.get_annotations(Runtime.__init__)
    assert kinds.keys() == {"kernel", "descriptors", "workers", "disk", "return"}
    assert "Any" not in kinds.values()
