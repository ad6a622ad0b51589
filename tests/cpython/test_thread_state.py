"""What is read from the interpreter's record of the OS thread."""

from __future__ import annotations

import _thread
import sys
import threading
import types
import weakref
from typing import Any

import pytest

from capriccio_patch.cpython import interpose, thread_state


def test_the_dictionary_is_the_thread_s() -> None:
    mine = thread_state.state_dict()
    assert thread_state.state_dict() is mine
    theirs: list[Any] = []
    thread = threading.Thread(target=lambda: theirs.append(thread_state.state_dict()))
    thread.start()
    thread.join()
    assert theirs[0] is not mine


def test_the_words_of_locals() -> None:
    words = thread_state.local_words()
    if words is None:
        pytest.skip("kept in the dictionary")
    local = _thread._local()
    local.value = "mine"
    assert bool(thread_state.is_set(words))
    mine = words.tolist()
    words[0] = words[1] = 0  # as a thread that has none
    assert not thread_state.is_set(words)
    assert not hasattr(local, "value")
    local.value = "another's"
    for word in words.tolist():
        interpose.release(word)
    words[0], words[1] = mine
    assert local.value == "mine"


@pytest.mark.parametrize(("kind", "index"), [("profile", 0), ("trace", 1)])
def test_the_words_of_tracing(kind: str, index: int) -> None:
    get, put = getattr(sys, f"get{kind}"), getattr(sys, f"set{kind}")
    before = get()
    if before is not None:
        pytest.skip("somebody traces this test")
    words = thread_state.trace_words()
    flag = thread_state.is_set(words, index)
    assert not flag

    def function(*_: Any) -> None: ...

    put(function)
    seen = words.tolist(), bool(flag)
    put(None)
    assert seen[0][2 + index] == id(function)
    assert seen[1]
    assert not flag
    assert words.tolist() == [0, 0, 0, 0]


def test_the_frame_is_told_to_other_threads() -> None:
    read = thread_state.frame_reader()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: read(found.append))
    thread.start()
    thread.join()
    while found[0] is not None and found[0].f_code.co_name != sys._getframe().f_code.co_name:
        found[0] = found[0].f_back
    assert found[0] is sys._getframe()


def test_a_frame_that_was_told_is_not_kept() -> None:
    class Kept:
        pass

    def tell() -> weakref.ref[Kept]:
        kept = Kept()
        assert thread_state.frame_reader()(lambda frame: frame is not None)
        return weakref.ref(kept)

    assert tell()() is None


def test_words_are_exchanged_whole() -> None:
    words = thread_state.trace_words()
    if any(words):
        pytest.skip("somebody traces this test")

    def function(*_: Any) -> None: ...

    sys.setprofile(function)
    taken = thread_state.exchange_tracing(words, (0, 0, 0, 0))
    without = sys.getprofile()
    nothing = thread_state.exchange_tracing(words, taken)
    with_ = sys.getprofile()
    sys.setprofile(None)
    assert without is None
    assert nothing == [0, 0, 0, 0]
    assert with_ is function
    assert not thread_state.tracing_depth().value


@pytest.mark.skipif(not hasattr(types, "LazyImportType"), reason="no lazy imports")
def test_the_lazy_imports_of_a_new_thread_are_those_of_c() -> None:
    """The set is made without an import: the import lock may be taken."""
    begun: list[bool] = []

    def run() -> None:
        found = thread_state.lazy_imports()
        assert found == set()
        thread_state._import_lazily(lambda lazy: begun.append(lazy[0] in found))

    thread_state.lazy_imports()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert begun == [True]
