"""The generator of random programs: what it makes, how it shrinks and compares; a smoke test."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "fuzz"
sys.path.insert(0, str(HERE))
try:
    import checking
    import keeping
    import programs
    import runs
    import settings
    import shrinking
    from parts import channels, registry
finally:
    sys.path.remove(str(HERE))

Program = programs.Program
KEPT = keeping.read_kept()
SEEDS = range(60)


def run_text(tmp_path: Path, text: str, limit: float = 30.0) -> Any:
    path = tmp_path / "program.py"
    path.write_text(text)
    return runs.run(path, None, limit, {})


def test_a_seed_makes_the_same_program_in_every_process() -> None:
    command = [sys.executable, str(HERE), "--print", "--first", "0", "-n", "20"]
    environ = {"PYTHONPATH": str(HERE.parent.parent)}
    one, two = (
        subprocess.run(command, env=environ | {"PYTHONHASHSEED": n}, capture_output=True, text=True)
        for n in ("1", "2")
    )
    assert one.stdout == two.stdout != ""
    assert one.stdout == "\n".join(Program(seed).text() for seed in range(20)) + "\n"


def test_seeds_make_different_programs_that_compile() -> None:
    texts = {Program(seed).text() for seed in SEEDS}
    assert len(texts) == len(SEEDS)
    for text in texts:
        compile(text, "program", "exec")


def test_every_part_channel_and_ending_comes_up() -> None:
    text = "\n".join(Program(seed).text() for seed in range(600))
    names = [*registry.PARTS, *registry.ENDINGS, *channels.KINDS, *channels.OS_KINDS]
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def assert_valid(program: Any) -> None:
    """Every message that is awaited is sent before; whoever acts is started before, and joined."""
    sent: Counter[str] = Counter()
    started, joined = {0}, set()
    for event in program.events:
        assert event.actor in started - joined
        if match := re.search(r"(channel_\d+)\.(send|receive)", event.text):
            sent[match[1]] += 1 if match[2] == "send" else -1
            assert sent[match[1]] >= 0
        if match := re.match(r"actors\[(\d+)\] =", event.text):
            started.add(int(match[1]))
        if match := re.match(r"join_actor\((\d+)\)", event.text):
            joined.add(int(match[1]))
    assert joined == started - {0}
    assert not +sent


def test_what_is_left_when_any_item_is_left_out_is_valid() -> None:
    for seed in SEEDS:
        program = Program(seed)
        assert_valid(program)
        for item in program.items:
            smaller = program.without({item})
            assert item not in smaller.items
            assert_valid(smaller)
            assert smaller.text() == Program(seed, smaller.dropped).text()


@pytest.mark.parametrize("needed", [set(), {3}, {0, 17}, {5, 6, 19}, set(range(20))])
def test_shrinking_leaves_what_is_needed(needed: set[int]) -> None:
    dropped = shrinking.shrink(range(20), lambda dropped: not needed & dropped)
    assert dropped == set(range(20)) - needed


def test_shrinking_stops_when_time_is_up() -> None:
    asked = []

    def differs(dropped: set[int]) -> bool:
        asked.append(dropped)
        return len(asked) == 1

    assert shrinking.shrink(range(8), differs) == {0, 1, 2, 3}


def test_a_run_is_what_can_be_seen_of_it(tmp_path: Path) -> None:
    text = "import sys\nprint('out')\nprint('b\\na', file=sys.stderr)\nsys.exit(3)"
    seen = run_text(tmp_path, text)
    assert (seen.status, seen.output) == (3, "out\n")
    assert runs.differs(seen, run_text(tmp_path, text.replace("b\\na", "a\\nb"))) is None
    assert runs.differs(seen, run_text(tmp_path, text.replace("b\\na", "a"))) == "errors"
    assert runs.differs(seen, run_text(tmp_path, text.replace("'out'", "'in'"))) == "output"
    other = runs.differs(seen, run_text(tmp_path, text.replace("3", "4")))
    assert other == "status 4 instead of 3"
    assert list(tmp_path.iterdir()) == [tmp_path / "program.py"]


def test_a_hang_is_seen_with_stacks_and_its_processes_end(tmp_path: Path) -> None:
    text = Program(0, frozenset(Program(0).items)).text()
    text = text.replace("returns()\n", "stuck_here(os.fork())\n").replace(
        "def actor_0",
        "def stuck_here(pid):\n    print(pid, flush=True)\n    time.sleep(1000)\n\ndef actor_0",
    )
    seen = run_text(tmp_path, "import os, time\n" + text, limit=4.0)
    assert seen.hung
    assert len(re.findall("in stuck_here", seen.errors)) >= 2
    for pid in re.findall(r"^[1-9]\d*$", seen.output, re.MULTILINE):
        deadline = time.monotonic() + 20.0
        while _lives(pid):  # a process that is killed takes its time on a busy machine
            assert time.monotonic() < deadline, pid
            time.sleep(0.01)


def _lives(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] not in "ZX"


def fake_runs(stock: str, patched: Callable[[str], str]) -> Callable[..., Any]:
    def run(path: Path, how: Any, limit: float, more: Any) -> Any:
        text = path.read_text()
        return runs.Run(0, patched(text) if how else stock, "", 0.1)

    return run


def test_a_difference_is_reported_and_made_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = next(p for p in map(Program, SEEDS) if "run('" in p.text() and len(p.items) > 9)
    culprit = re.search(r"run\('\d+ \w+'.*", program.text())[0]  # type: ignore[index]
    fake = fake_runs("good", lambda text: "bad" if culprit in text else "good")
    monkeypatch.setattr(checking, "run", fake)
    verdict = checking.check(program, {}, checking.Options(tmp_path))
    assert verdict.difference == "output"
    small = (verdict.report / "small.py").read_text()
    assert culprit in small
    assert len(re.findall(r"run\('\d", small)) == 1
    assert "channel_" not in small.partition("actor_0():")[2]
    assert "seen in 4 of 4 runs" in (verdict.report / "report.txt").read_text()


def test_a_race_of_stocks_own_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(path: Path, how: Any, limit: float, more: Any) -> Any:
        return runs.Run(0, f"{bool(how)} {more}", "", 0.1)

    monkeypatch.setattr(checking, "run", run)
    verdict = checking.check(Program(1), {}, checking.Options(tmp_path))
    assert verdict.own
    assert list(tmp_path.iterdir()) == []


def test_settings_belong_to_the_seed_but_for_those_given() -> None:
    for seed in SEEDS:
        own = settings.Settings.choose(seed, {})
        assert own == settings.Settings.choose(seed, {})
        assert own == settings.Settings.choose(99, settings.parse(own.exact()))
        assert settings.Settings.choose(seed, {"slice": ""}).slice == ""
    assert len({str(settings.Settings.choose(seed, {})) for seed in SEEDS}) > 40
    with pytest.raises(ValueError, match="'speed'"):
        settings.parse("speed=1")


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: str(kept.seed))
def test_a_kept_seed_does_not_differ(kept: Any, tmp_path: Path) -> None:
    if kept.open:
        pytest.skip(kept.found)
    options = checking.Options(tmp_path, shrink=0)
    verdict = checking.check(Program(kept.seed, kept.dropped), kept.given, options)
    if verdict.report:
        pytest.fail((verdict.report / "report.txt").read_text())
