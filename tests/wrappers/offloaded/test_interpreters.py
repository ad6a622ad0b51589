"""Code in other interpreters runs, and waits, beside the threads of this one."""

from __future__ import annotations

import _thread
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from tests.conftest import SEVERAL

NAMES = [name for name in ("_interpreters", "_xxsubinterpreters") if find_spec(name)]
pytestmark = pytest.mark.skipif(not NAMES, reason="no other interpreters")

START = f"""
import os, threading
import capriccio_patch
capriccio_patch.patch_all()
import {"".join(NAMES[:1])} as interpreters
"""


def test_others_run_while_it_waits(run_script: Any) -> None:
    run_script(
        START
        + """
read, write = os.pipe()
other = interpreters.create()
code = f'''
import os
with open(os.devnull, "rb") as file:
    assert file.read() == b""
assert os.read({read}, 1) == b"x"
'''
thread = threading.Thread(target=interpreters.run_string, args=(other, code))
thread.start()
threading.Timer(0.01, os.write, (write, b"x")).start()
thread.join()
interpreters.destroy(other)
""",
        timeout=20,
    )


def test_what_runs_in_two_is_not_in_the_way_of_each_other(run_script: Any) -> None:
    """Each waits for the other one, so neither is run to its end by the OS thread that began."""
    run_script(
        START
        + """
ends = [os.pipe(), os.pipe()]
code = '''
import os
os.write({write}, b"x")
assert os.read({read}, 1) == b"x"
'''
ids = [interpreters.create(), interpreters.create()]
threads = [
    threading.Thread(
        target=interpreters.run_string,
        args=(id, code.format(read=ends[n][0], write=ends[1 - n][1])),
    )
    for n, id in enumerate(ids)
]
for thread in threads: thread.start()
for thread in threads: thread.join()
for id in ids: interpreters.destroy(id)
""",
        timeout=20,
    )


def test_threads_of_another_one_end_with_it(run_script: Any) -> None:
    """Its ``threading`` is shut down on the OS thread which has imported that."""
    run_script(
        START
        + """
try:
    other = interpreters.create(isolated=False)
except TypeError:
    other = interpreters.create()
code = '''
import threading
thread = threading.Thread(target=lambda: None)
thread.start()
thread.join()
'''
interpreters.run_string(other, code)
for _ in range(3):
    thread = threading.Thread(target=lambda: interpreters.destroy(interpreters.create()))
    thread.start()
    thread.join()
interpreters.destroy(other)
""",
        timeout=20,
    )


@pytest.mark.skipif(not find_spec("_interpchannels"), reason="sending does not wait")
def test_who_sends_lets_the_receiver_run(run_script: Any) -> None:
    run_script(
        START
        + """
import _interpchannels as channels
channel = channels.create(unboundop=1)
received = []
def receive():
    while not received:
        try:
            received.append(channels.recv(channel)[0])
        except channels.ChannelEmptyError:
            pass
thread = threading.Thread(target=receive)
thread.start()
channels.send(channel, b"x", blocking=True)
thread.join()
assert received == [b"x"]
channels.destroy(channel)
""",
        timeout=20,
    )


@pytest.mark.skipif("_xxsubinterpreters" not in NAMES, reason="thread states are not counted")
def test_a_main_thread_alone_runs_whatever_runs_beside_it(run_script: Any) -> None:
    assert hasattr(import_module(NAMES[0]), "RunFailedError")
    run_script(
        START
        + """
thread = threading.Thread(target=lambda: None)
thread.start()
thread.join()
assert interpreters.is_running(interpreters.get_main())
""",
        timeout=20,
    )


@pytest.mark.skipif(not find_spec("_interpreters"), reason="they share one heap")
def test_who_tells_of_threads_leaves_other_interpreters_alone(run_script: Any) -> None:
    """A frame of theirs, made an object by us, would be freed in a heap that is not its own."""
    done = run_script(
        START
        + """
import faulthandler, sys
began, end = os.pipe(), os.pipe()
other = interpreters.create("isolated")
code = f"import os; os.write({began[1]}, b'x'); os.read({end[0]}, 1)"
thread = threading.Thread(target=interpreters.exec, args=(other, code), daemon=True)
thread.start()
os.read(began[0], 1)
faulthandler.dump_traceback()
assert set(sys._current_frames()) == {threading.get_ident(), thread.ident}
capriccio_patch.original("time.sleep")(0.2)
os.write(end[1], b"x")
thread.join()
interpreters.destroy(other)
""",
        env={"CAPRICCIO_BLOCKED": "0.05"},
        timeout=20,
    )
    # Of several kernels another may have the other thread.
    assert SEVERAL or "has kept all other threads" in done.stderr


def test_one_that_has_threads_ends_with_the_last_reference_to_it(run_script: Any) -> None:
    """What it takes for its main thread is a companion, and the references end elsewhere."""
    run_script(
        START
        + """
id = interpreters.create()
interpreters.run_string(id, "import threading; mine = threading.current_thread()")
interpreters.run_string(id, "assert mine is threading.main_thread()")
interpreters.run_string(id, "assert 'locks' not in globals()")
if hasattr(interpreters, "InterpreterID"):
    del id
    assert interpreters.list_all() == [interpreters.get_main()]
else:
    interpreters.destroy(id)
""",
        timeout=20,
    )


@pytest.mark.skipif(not hasattr(_thread, "_get_name"), reason="the system has no names of threads")
def test_code_sees_the_name_of_the_thread_that_runs_it(run_script: Any) -> None:
    """As under stock, where that thread is the OS thread which the system has a name of."""
    run_script(
        START
        + """
import _thread
def seen():
    read, write = os.pipe()
    code = f"import os, _thread; os.write({write}, os.fsencode(_thread._get_name()))"
    interpreters.run_string(other, code)
    names.append(os.fsdecode(os.read(read, 100)))
def twice():
    seen()
    threading.current_thread().name = "another"
    seen()
other = interpreters.create()
names = []
before = _thread._get_name()
thread = threading.Thread(target=twice, name="pool-7")
thread.start()
thread.join()
seen()
assert names == ["pool-7", "another", before], names
assert _thread._get_name() == before
interpreters.destroy(other)
""",
        timeout=20,
    )


@pytest.mark.one_processor  # what finds the kernel needs memory of its own
@pytest.mark.skipif(find_spec("_testcapi") is None, reason="no _testcapi")
def test_creating_one_without_memory_fails_as_in_stock(run_script: Any) -> None:
    """Stock raises InterpreterError for it; before 3.15 it does not survive that."""
    if not hasattr(import_module(NAMES[0]), "InterpreterError"):
        pytest.skip("has no error of its own for it")
    run_script(
        START
        + """
import _testcapi
for start in range(6):
    try:
        _testcapi.set_nomemory(start, start + 1)
        try:
            interpreters.create()
        finally:
            _testcapi.remove_mem_hooks()
    except interpreters.InterpreterError as error:
        assert str(error) == "interpreter creation failed" and error.__context__ is not None
    else:
        raise AssertionError(start)
""",
        timeout=20,
    )
