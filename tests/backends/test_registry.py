"""Schemes by name: which there are, which is chosen, and why one can't be."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch import (
    BackendUnavailable,
    ConfigError,
    DiskBackend,
    register_backend,
    register_disk_backend,
)
from capriccio_patch.backends import disk, ring, sockets
from capriccio_patch.backends.disk import create_disk_backend
from capriccio_patch.backends.disk.workers import WorkersBackend
from capriccio_patch.backends.sockets import create_backend
from capriccio_patch.backends.sockets.epoll import EpollBackend
from capriccio_patch.backends.sockets.select import SelectBackend
from capriccio_patch.contracts.descriptor import Descriptor
from capriccio_patch.contracts.socket_backend import Backend


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    for registry in (sockets.REGISTRY, disk.REGISTRY):
        monkeypatch.setattr(registry, "classes", dict(registry.classes))


class Refusing(SelectBackend):
    """Can't run anywhere."""

    @classmethod
    def is_available(cls) -> str | None:
        return "it does not want to"


def test_auto_takes_the_first_that_can_run() -> None:
    for name in sockets.PREFERRED:
        if capriccio_patch.available_backends()[name] is None:
            backend = create_backend("auto")
            assert backend.name == name
            backend.close()
            break


def test_auto_goes_on_where_one_can_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("epoll", "kqueue", "poll"):
        monkeypatch.setitem(sockets.REGISTRY.classes, name, Refusing)
    backend = create_backend()
    assert backend.name == "select"
    backend.close()
    monkeypatch.setitem(sockets.REGISTRY.classes, "select", Refusing)
    with pytest.raises(
        BackendUnavailable, match=r"epoll: it does not.*select: it does not want to"
    ):
        create_backend()


def test_auto_takes_none_that_costs_more_or_that_others_have_added(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register_backend("mine", SelectBackend)
    for name in sockets.PREFERRED:
        monkeypatch.setitem(sockets.REGISTRY.classes, name, Refusing)
    with pytest.raises(BackendUnavailable):
        create_backend()


def test_one_that_is_named_and_can_not_run_says_why() -> None:
    register_backend("refusing", Refusing)
    with pytest.raises(BackendUnavailable, match="refusing: it does not want to"):
        create_backend("refusing")
    assert capriccio_patch.available_backends()["refusing"] == "it does not want to"


def test_an_unknown_name_lists_the_known_ones() -> None:
    register_backend("mine", SelectBackend)
    with pytest.raises(ConfigError) as caught:
        create_backend("e-poll")
    for name in ("auto", "epoll", "kqueue", "poll", "select", "io_uring", "thread", "mine"):
        assert name in str(caught.value)


def test_a_scheme_goes_by_the_name_it_was_registered_under() -> None:
    register_backend("mine", SelectBackend)
    backend = create_backend("mine")
    assert backend.name == "mine"
    backend.close()
    assert SelectBackend.name == "select"


class Incomplete(Backend):
    """Without most of what a scheme needs."""

    name = "incomplete"

    def poll(self, timeout: float | None) -> Sequence[tuple[int, int]]:
        return []

    def forget(self, descriptor: Descriptor) -> None:
        pass


@pytest.mark.parametrize("cls", [object, SelectBackend.poll, "select", Incomplete])
def test_what_is_no_scheme_is_refused(cls: Any) -> None:
    with pytest.raises(TypeError):
        register_backend("wrong", cls)


class IncompleteOnDisk(DiskBackend):
    """Without what carries an operation out."""

    kind = "incomplete"

    @classmethod
    def is_available(cls) -> str | None:
        return None


@pytest.mark.parametrize("cls", [object, WorkersBackend.add_request, "workers", SelectBackend])
def test_what_is_no_disk_scheme_is_refused(cls: Any) -> None:
    with pytest.raises(TypeError, match="a disk I/O scheme must be a subclass of DiskBackend"):
        register_disk_backend("wrong", cls)


def test_what_a_disk_scheme_lacks_is_named() -> None:
    with pytest.raises(TypeError, match="disk I/O scheme IncompleteOnDisk lacks add_request"):
        register_disk_backend("wrong", IncompleteOnDisk)  # type: ignore[type-abstract]


def test_auto_is_no_name_of_a_disk_scheme_either() -> None:
    with pytest.raises(ConfigError, match="no disk I/O scheme can be called 'auto'"):
        register_disk_backend("auto", WorkersBackend)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(TypeError, match="Incomplete lacks add_request, close, init, is_available"):
        register_backend("wrong", Incomplete)  # type: ignore[type-abstract]


def test_auto_is_no_name() -> None:
    with pytest.raises(ConfigError):
        register_backend("auto", SelectBackend)


# -- entry points --------------------------------------------------------------------------------


def distribution(directory: Path, *entries: str, group: str = "capriccio_patch.backends") -> None:
    """What pip leaves of an installed distribution, as far as entry points go."""
    info = directory / "someones_schemes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someones-schemes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{group}]\n" + "".join(f"{entry}\n" for entry in entries)
    )
    (directory / "someones_schemes.py").write_text(
        "from capriccio_patch.backends.sockets.select import SelectBackend\n"
        "class Scheme(SelectBackend):\n"
        "    name = 'someones'\n"
    )


def test_an_installed_scheme_is_found(
    tmp_path: Path, run_script: Any, environ: dict[str, str]
) -> None:
    """In each process that starts, forked children included."""
    distribution(tmp_path, "someones = someones_schemes:Scheme")
    path = f"{environ['PYTHONPATH']}:{tmp_path}"
    code = """
        import os, sys, threading, time
        import capriccio_patch
        assert "someones_schemes" not in sys.modules
        capriccio_patch.patch_all()
        assert capriccio_patch.status()["sockio"] == "someones"
        thread = threading.Thread(target=time.sleep, args=(0.01,))
        thread.start()
        thread.join()
        pid = os.fork()
        if not pid:
            os._exit(capriccio_patch.status()["sockio"] != "someones")
        print(os.waitpid(pid, 0)[1], capriccio_patch.available_backends()["someones"])
    """
    done = run_script(code, env={"PYTHONPATH": path, "CAPRICCIO_SOCKIO": "someones"})
    assert done.stdout == "0 None\n"


def test_installed_schemes_are_listed_and_told_of_when_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "absent = someones_schemes:Absent", "wrong = json:dumps")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"known are auto, .*, absent, wrong"):
        create_backend("nonsense")
    with pytest.raises(ConfigError, match=r"'absent' of someones-schemes .*Absent"):
        create_backend("absent")
    with pytest.raises(ConfigError, match=r"'wrong' of someones-schemes .*subclass of Backend"):
        create_backend("wrong")
    reason = capriccio_patch.available_backends()["absent"]
    assert reason is not None
    assert "AttributeError" in reason


def test_installed_disk_schemes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(
        tmp_path,
        "missing = someones_schemes:Absent",
        "unfit = json:dumps",
        "pool = capriccio_patch.backends.disk.workers:WorkersBackend",
        group="capriccio_patch.disk_backends",
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"known are auto, .*, missing, unfit, pool"):
        create_disk_backend("nonsense")
    with pytest.raises(ConfigError, match=r"'unfit' of someones-schemes .*subclass of DiskBackend"):
        create_disk_backend("unfit")
    assert type(create_disk_backend("pool")) is WorkersBackend
    reasons = capriccio_patch.available_disk_backends()
    assert reasons["pool"] is None
    assert "AttributeError" in str(reasons["missing"])


# -- reasons -------------------------------------------------------------------------------------


needs_ring = pytest.mark.skipif(ring.unavailable() is not None, reason="no io_uring")


@needs_ring
def test_io_uring_denied_by_seccomp(run_script: Any) -> None:
    """The real filter of a container: the reason is told, and `auto` is not concerned."""
    code = """
        from tests.fakes import seccomp
        seccomp.deny(seccomp.IO_URING_SETUP)
        import capriccio_patch
        capriccio_patch.patch_all()
        capriccio_patch.unpatch_all()
        try:
            capriccio_patch.patch_all(sockio="io_uring")
        except capriccio_patch.BackendUnavailable as error:
            print(error)
    """
    assert "io_uring: io_uring is forbidden here: EPERM, as from a" in run_script(code).stdout


@pytest.mark.parametrize(
    ("number", "sysctl", "text"),
    [
        (errno.ENOSYS, "0", "this kernel has no io_uring"),
        (errno.EPERM, "2", "kernel.io_uring_disabled is 2"),
        (errno.EPERM, "0", "seccomp"),
        (errno.EPERM, None, "seccomp"),
        (errno.EMFILE, "0", "Too many open files"),
    ],
)
def test_why_there_is_no_ring(
    number: int,
    sysctl: str | None,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "io_uring_disabled"
    if sysctl is not None:
        file.write_text(f"{sysctl}\n")
    monkeypatch.setattr(ring, "_DISABLED", str(file))

    def refused(*args: Any) -> None:
        raise OSError(number, "Too many open files")

    monkeypatch.setattr(ring, "_set_up", refused)
    monkeypatch.setattr(ring, "platform", "linux")
    assert text in str(ring.unavailable())


@needs_ring
def test_a_ring_that_is_too_old() -> None:
    assert ring.unavailable(1 << 31) == "this kernel's io_uring is too old"


def test_on_another_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "platform", "darwin")
    assert ring.unavailable() == "this system has no io_uring"


@pytest.mark.parametrize("name", ["epoll", "kqueue", "poll"])
def test_what_the_system_lacks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(f"select.{name}", raising=False)
    if name == "poll":
        monkeypatch.setattr("capriccio_patch.cpython.originals.poll", None)
    with pytest.raises(BackendUnavailable, match=f"{name}: this system has no {name}"):
        create_backend(name)


def test_the_thread_scheme_needs_something_to_wait_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("select.epoll", raising=False)
    monkeypatch.delattr("select.kqueue", raising=False)
    with pytest.raises(BackendUnavailable, match="no epoll; this system has no kqueue"):
        create_backend("thread")


@pytest.mark.skipif(EpollBackend.is_available() is not None, reason="no epoll")
def test_the_thread_scheme_without_an_os_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*args: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("capriccio_patch.io.os_threads.start", none_left)
    with pytest.raises(OSError, match="can't start new thread"):
        create_backend("thread")
