"""A patch that fails in any step of its construction leaves nothing behind, and says why."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch import api
from capriccio_patch.backends.disk.workers import WorkersBackend
from capriccio_patch.backends.sockets.epoll import EpollBackend
from capriccio_patch.contracts.disk_backend import DiskBackend
from capriccio_patch.core.binding import Core
from capriccio_patch.io.reserved import RESERVED
from capriccio_patch.kernel.processors import Processor
from capriccio_patch.patching.apply import Application
from capriccio_patch.preemption.watchdog import Watchdog
from capriccio_patch.processors import parts
from capriccio_patch.schedulers.graph import GraphScheduler
from tests.conftest import SCHEMES, SEVERAL


class Failure(OSError):
    """What a step of a test raises."""


def fail(*args: Any, **named: Any) -> Any:
    raise Failure(errno.EMFILE, "no more of them")


STEPS = {
    "policy": (parts, "create_policy"),
    "disk scheme": (parts, "create_disk_backend"),
    "socket scheme": (parts, "create_backend"),
    "kernel": (Processor, "__init__") if SEVERAL else (Core, "kernel"),
    "descriptors": (parts, "Descriptors"),
    "attach": (GraphScheduler, "attach"),
    "workers": (parts, "Workers"),
    "disk": (parts, "Disk"),
    "watchdog": (api, "Watchdog"),
    "table": (Core, "table"),
    "offload": (api, "Offload"),
    "selection": (api, "Selection"),
    "rows": (Application, "apply"),
    "existing objects": (Application, "_adopt"),
    "watching": (Watchdog, "start"),
}


def descriptors() -> list[str]:
    """The numbers that are open, and what each stands for."""
    found = []
    for fd in range(256):
        try:
            status = os.fstat(fd)
        except OSError:
            continue
        found.append(f"{fd}: {status.st_dev} {status.st_ino}")
    return found


def state() -> tuple[Any, ...]:
    """What a patch changes in the process."""
    return (
        descriptors(),
        dict(RESERVED),
        repr(time.sleep),
        sys.getswitchinterval(),
        [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        threading.active_count(),
        capriccio_patch.status(),
    )


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """The patch can be applied after the test, and undone, and the process is what it was."""
    capriccio_patch.patch_all()  # what is made once for each process is there
    capriccio_patch.unpatch_all()
    before = state()
    yield
    assert state() == before
    capriccio_patch.patch_all()
    capriccio_patch.unpatch_all()
    assert state() == before


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*STEPS[step], fail)
    with pytest.raises(Failure, match="no more of them"):
        capriccio_patch.patch_all(scheduler="graph")


@pytest.mark.parametrize("sockio", SCHEMES)
@pytest.mark.parametrize(
    "diskio", [name for name, why in capriccio_patch.available_disk_backends().items() if not why]
)
def test_every_scheme_is_closed(sockio: str, diskio: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if capriccio_patch.available_backends()[sockio]:
        pytest.skip("not here")
    monkeypatch.setattr(Core, "table", fail)
    with pytest.raises(Failure):
        capriccio_patch.patch_all(sockio=sockio, diskio=diskio)


@pytest.mark.parametrize("diskio", ["workers", "io_uring", "nowait", "auto"])
def test_a_disk_scheme_that_can_not_begin(diskio: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if capriccio_patch.available_disk_backends().get(diskio):
        pytest.skip("not here")
    begin = DiskBackend.init

    def init(self: DiskBackend, services: Any) -> None:
        begin(self, services)
        fail()

    monkeypatch.setattr(DiskBackend, "init", init)
    monkeypatch.setattr(WorkersBackend, "init", init)
    with pytest.raises(Failure):
        capriccio_patch.patch_all(diskio=diskio)


def test_a_failure_of_the_cleaning_up_does_not_hide_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    close = EpollBackend.close

    def close_and_fail(self: EpollBackend) -> None:
        close(self)
        raise RuntimeError("while it was closed")

    monkeypatch.setattr(EpollBackend, "close", close_and_fail)
    monkeypatch.setattr(Core, "table", fail)
    with pytest.raises(RuntimeError, match="while it was closed") as caught:
        capriccio_patch.patch_all(sockio="epoll")
    first = caught.value.__context__
    while SEVERAL and isinstance(first, RuntimeError):  # of another kernel's scheme
        first = first.__context__
    assert isinstance(first, Failure)
    monkeypatch.undo()


def is_free(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


def test_no_descriptors_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever descriptor is one too many."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = [number for number in range(1000) if is_free(number)]
    failed = []
    tried = 64 if SEVERAL else 8
    try:
        for room in range(tried):
            resource.setrlimit(resource.RLIMIT_NOFILE, (free[room], hard))
            try:
                capriccio_patch.patch_all(sockio="epoll")
            except OSError as error:
                failed.append(error.errno)
            else:
                capriccio_patch.unpatch_all()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert set(failed) == {errno.EMFILE}
    assert len(failed) < tried
