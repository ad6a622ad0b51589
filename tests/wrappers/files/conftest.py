"""What the tests of files share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.backends.disk import available_disk_backends
from tests.inside import applied
from tests.wrappers.files.ends import KINDS, Ends

AVAILABLE = [n for n, reason in capriccio_patch.available_backends().items() if reason is None]
DISK_SCHEMES = [n for n, reason in available_disk_backends().items() if reason is None]


@pytest.fixture(params=AVAILABLE)
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test over every scheme that runs here; it comes before the patch."""
    monkeypatch.setenv("CAPRICCIO_SOCKIO", request.param)


@pytest.fixture(params=KINDS, ids=lambda make: make.__name__[5:])
def ends(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ends]:
    """A connection of each kind."""
    made = request.param(tmp_path)
    yield made
    made.close()


@pytest.fixture
def pipe() -> Iterator[Ends]:
    made = Ends(*os.pipe())
    yield made
    made.close()


@pytest.fixture
def pipe_ends() -> Iterator[tuple[int, int]]:
    """A pipe's descriptors; the test may close them."""
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass


@pytest.fixture(params=["auto", *DISK_SCHEMES])
def beside_another(request: pytest.FixtureRequest) -> Iterator[None]:
    """The patch with every scheme, and a second thread, without which nothing would park."""
    capriccio_patch.patch_all(diskio=request.param)
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    yield
    done.set()
    other.join()
    capriccio_patch.unpatch_all()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What becomes a request of the disk scheme from now on."""
    backend = applied().runtime.disk.backend
    seen: list[Any] = []
    begin = backend.add_request

    def add_request(request: Any) -> bool:
        seen.append(request)
        return begin(request)

    monkeypatch.setattr(backend, "add_request", add_request)
    return seen
