"""The scheduler ``random``: one seed, one interleaving; and the seed of a failure is told."""

from __future__ import annotations

from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.contracts.thread import Thread
from capriccio_patch.errors import ConfigError
from capriccio_patch.schedulers.random import ALONE, LEAST_SLICE, RandomScheduler

# Two threads may both read the number before one of them writes it.
RACE = """
    import threading
    count = 0
    lock = threading.Lock()
    def work():
        global count
        for _ in range(4):
            with lock:
                seen = count
            with lock:
                count = seen + 1
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(count)
    assert count == 8
"""
# Who gets which item is up to the scheduler.
ORDER = """
    import threading, queue
    order = []
    todo = queue.Queue()
    def work(name):
        while (item := todo.get()) is not None:
            order.append((name, item))
        todo.put(None)
    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for item in range(30):
        todo.put(item)
    todo.put(None)
    for thread in threads:
        thread.join()
    print(order)
"""


def scheduler(seed: int) -> RandomScheduler:
    made = RandomScheduler()
    made.seed = seed
    return made


def drawn(seed: int) -> list[int]:
    made = scheduler(seed)
    threads = [Thread() for _ in range(50)]
    for thread in threads:
        made.push(thread)
    return [threads.index(made.pop()) for _ in threads]


def test_the_same_seed_gives_the_same_order() -> None:
    assert drawn(1) == drawn(1) != drawn(2)


def test_without_a_seed_it_chooses_one() -> None:
    assert RandomScheduler().seed != RandomScheduler().seed


def test_where_there_is_no_choice_no_lots_are_drawn() -> None:
    one, other = scheduler(1), scheduler(1)
    for _ in range(5):
        assert not one.checkpoint()
        thread = Thread()
        one.push(thread)
        assert one.pop() is thread
    for each in (one, other):
        each.push(Thread())
        each.push(Thread())
    assert [one.checkpoint() for _ in range(50)] == [other.checkpoint() for _ in range(50)]


def test_one_that_only_calls_steps_aside_now_and_then_where_nobody_is_known() -> None:
    alone = scheduler(1)
    assert [alone.checkpoint() for _ in range(2 * ALONE)].count(True) == 2


def run(run_script: Any, tmp_path: Any, code: str, *options: str) -> Any:
    import textwrap

    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(code))
    command = ("-m", "capriccio_patch", *options)
    return run_script(script, status=None, options=command)


@pytest.mark.one_processor
def test_a_race_fails_under_some_seeds_the_same_each_time(run_script: Any, tmp_path: Any) -> None:
    outcomes = {}
    for seed in range(30):
        done = run(run_script, tmp_path, RACE, "--scheduler", "random", "--seed", str(seed))
        outcomes[seed] = done.stdout, done.returncode
        told = f"capriccio_patch: failed with --seed {seed}\n"
        assert done.stderr.endswith(told) == (done.returncode != 0)
        if len({status for _, status in outcomes.values()}) == 2:
            break
    assert {status for _, status in outcomes.values()} == {0, 1}
    for seed in list(outcomes)[-2:]:
        done = run(run_script, tmp_path, RACE, "--scheduler", "random", "--seed", str(seed))
        assert (done.stdout, done.returncode) == outcomes[seed]


@pytest.mark.one_processor
def test_the_order_of_a_queues_readers_is_reproduced(run_script: Any, tmp_path: Any) -> None:
    def order(seed: int) -> str:
        env = {"CAPRICCIO_SCHEDULER": "random", "CAPRICCIO_SEED": str(seed)}
        done = run_script(ORDER, options=("-m", "capriccio_patch"), env=env)
        return str(done.stdout)

    first = order(1)
    assert order(1) == first
    assert order(2) != first


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import threading\nt = threading.Thread(target=int, args=('x',))\nt.start()\nt.join()", 0),
        ("import _thread, time\n_thread.start_new_thread(int, ('x',))\ntime.sleep(0.3)", 0),
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('no')", 1),
        ("1 / 0", 1),
    ],
    ids=["thread", "raw thread", "status", "message", "exception"],
)
def test_the_seed_of_a_failure_is_told(
    code: str, status: int, run_script: Any, tmp_path: Any
) -> None:
    done = run(run_script, tmp_path, code, "--scheduler", "random", "--seed", "77")
    assert done.returncode == status
    assert done.stderr.endswith("capriccio_patch: failed with --seed 77\n")


@pytest.mark.parametrize("code", ["pass", "raise SystemExit", "raise SystemExit(0)"])
def test_of_a_success_nothing_is_told(code: str, run_script: Any, tmp_path: Any) -> None:
    done = run(run_script, tmp_path, code, "--scheduler", "random")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_seed_that_the_scheduler_chose_is_told(run_script: Any, tmp_path: Any) -> None:
    code = "import capriccio_patch as c; print(c.status()['seed']); 1 / 0"
    done = run(run_script, tmp_path, code, "--scheduler", "random")
    assert done.stderr.endswith(f"--seed {done.stdout}")


def test_a_seed_for_a_scheduler_that_draws_no_lots() -> None:
    with pytest.raises(ConfigError, match=r"seed=7: the scheduler 'fifo' draws no lots"):
        capriccio_patch.patch_all(seed=7)


def test_preemption_is_the_last_resort(run_script: Any) -> None:
    """Who waits in a loop without a call is made to step aside, though late."""
    done = run_script(
        """
        import threading, time, capriccio_patch
        capriccio_patch.patch_all(scheduler="random", slice=0.001)
        done = False
        def work():
            global done
            time.sleep(0.01)
            done = True
        thread = threading.Thread(target=work)
        thread.start()
        begun = time.monotonic()
        while not done:
            pass
        print(time.monotonic() - begun)
        """
    )
    assert float(done.stdout) > LEAST_SLICE / 2


def test_without_standard_error_nothing_is_told(run_script: Any) -> None:
    code = "import sys; sys.stderr = None; raise SystemExit(3)"
    options = ("-m", "capriccio_patch", "--scheduler", "random")
    assert run_script(code, options=options, status=3).stdout == ""
