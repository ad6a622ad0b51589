"""Schedulers of somebody else's: how they are found, and that their mistakes are named."""

from __future__ import annotations

import textwrap
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from capriccio_patch import schedulers
from capriccio_patch.contracts.thread import Thread
from capriccio_patch.errors import ConfigError
from capriccio_patch.schedulers import create_scheduler, known_schedulers, register_scheduler
from capriccio_patch.schedulers.checked import CheckedScheduler


class Fifo(deque[Any]):
    """One without fault, to derive the others from."""

    push = deque.append
    pop = deque.popleft  # type: ignore[assignment]


class Loses(Fifo):
    def push(self, thread: Thread) -> None:
        if len(self) < 2:
            self.append(thread)


class LosesAnother(Fifo):
    def pop(self) -> Thread:  # type: ignore[override]
        popped: Thread = self.popleft()
        self.popleft()
        return popped


class ReturnsTwice(Fifo):
    def pop(self) -> Thread:  # type: ignore[override]
        return self[0]  # type: ignore[no-any-return]


class ReturnsAStranger(Fifo):
    def pop(self) -> Thread:  # type: ignore[override]
        self.popleft()
        return Thread()


class ReturnsNone(Fifo):
    def pop(self) -> Any:  # type: ignore[override]
        self.popleft()


class Raises(Fifo):
    def pop(self) -> Any:  # type: ignore[override]
        raise KeyError("where is it?")


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Loses, "lost <Thread .*, which was pushed"),
        (LosesAnother, "has 1 threads after the pop.* should have 2: <Thread"),
        (ReturnsTwice, "has 3 threads after the pop of <Thread .* should have 2"),
        (ReturnsAStranger, "returned <Thread .* twice"),
        (ReturnsNone, "returned None, which is no thread"),
        (Raises, "returned none of 3 threads"),
    ],
)
def test_a_mistake_is_named(cls: type[Fifo], message: str) -> None:
    scheduler = CheckedScheduler("mine", cls())

    def use() -> None:
        for _ in range(3):
            scheduler.push(Thread())
        scheduler.pop()

    with pytest.raises(AssertionError, match=f"scheduler 'mine' {message}"):
        use()


@pytest.mark.parametrize("name", ["fifo", "lifo", "priority", "random"])
def test_our_own_pass(name: str) -> None:
    from random import Random

    chance = Random(1).random
    scheduler = CheckedScheduler(name, create_scheduler(name))
    outside: list[Thread] = [Thread() for _ in range(20)]
    for _ in range(5_000):
        if outside and chance() < 0.5:
            push: Callable[[Thread], None] = (
                scheduler.push_first if chance() < 0.1 else scheduler.push
            )
            push(outside.pop())
        elif scheduler:
            outside.append(scheduler.pop())


@pytest.mark.one_processor
@pytest.mark.parametrize("cls", [Loses, LosesAnother, ReturnsTwice, Raises])
def test_a_program_does_not_hang_but_is_told(cls: type, run_script: Any) -> None:
    import inspect

    body = textwrap.dedent(inspect.getsource(Fifo)) + textwrap.dedent(inspect.getsource(cls))
    done = run_script(
        "from collections import deque\nfrom typing import Any\nThread = Any\n"
        + body
        + textwrap.dedent(
            f"""
            import threading, time, capriccio_patch
            capriccio_patch.register_scheduler("theirs", {cls.__name__})
            capriccio_patch.patch_all(scheduler="theirs")
            go = threading.Event()
            threads = [threading.Thread(target=go.wait, daemon=True) for _ in range(5)]
            for thread in threads:
                thread.start()
            time.sleep(0.01)
            go.set()
            for thread in threads:
                thread.join()
            """
        ),
        status=None,
        timeout=20,
    )
    assert done.returncode not in (0, None)
    assert "AssertionError: scheduler 'theirs'" in done.stderr


class TestEntryPoints:
    @pytest.fixture
    def installed(self, tmp_path: Path) -> str:
        """What a wheel of somebody else's leaves in site-packages."""
        site = tmp_path / "site-packages"
        info = site / "their_schedulers-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: their-schedulers\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(
            "[capriccio_patch.schedulers]\ntheirs = their_schedulers:Theirs\n"
            "broken = no_such_module:Scheduler\n"
        )
        (site / "their_schedulers.py").write_text(
            textwrap.dedent(
                """
                from collections import deque
                class Theirs(deque):
                    pops = 0
                    push = deque.append
                    def pop(self):
                        Theirs.pops += 1
                        return self.popleft()
                """
            )
        )
        return str(site)

    def test_one_is_found_by_its_name(
        self, installed: str, run_script: Any, environ: dict[str, str]
    ) -> None:
        done = run_script(
            """
            import threading, time, capriccio_patch
            capriccio_patch.patch_all()
            threads = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            import their_schedulers
            assert their_schedulers.Theirs.pops > 5
            print(capriccio_patch.status()["scheduler"])
            """,
            env={
                "PYTHONPATH": environ["PYTHONPATH"] + ":" + installed,
                "CAPRICCIO_SCHEDULER": "theirs",
            },
        )
        assert done.stdout == "theirs\n"

    def test_an_unknown_name_lists_them_too(
        self, installed: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(installed)
        assert {"fifo", "lifo", "theirs", "broken"} <= set(known_schedulers())
        with pytest.raises(ConfigError, match=r"unknown scheduler 'best': known are fifo.*theirs"):
            create_scheduler("best")


def test_a_factory_that_replaces_one_of_ours_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "_schedulers", dict(schedulers._schedulers))
    register_scheduler("fifo", Fifo)
    assert type(create_scheduler("fifo")) is CheckedScheduler
