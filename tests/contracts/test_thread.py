"""The record of a thread."""

from __future__ import annotations

from capriccio_patch.contracts.thread import GRANTED, Finalizer, Thread


def test_identifiers_are_odd_and_differ() -> None:
    threads = [Thread() for _ in range(100)]
    idents = {thread.ident for thread in threads}
    assert len(idents) == 100
    assert all(ident % 2 for ident in idents)


def test_it_shows_what_it_does() -> None:
    thread = Thread()
    assert repr(thread) == f"<Thread {thread.ident:#x} runnable>"
    thread.parked = True
    thread.kind = "lock"
    assert repr(thread) == f"<Thread {thread.ident:#x} parked in lock>"


def test_a_slice_is_granted_until_the_next_park() -> None:
    thread = Thread()
    assert not thread.is_granted
    thread.since = GRANTED
    assert thread.is_granted
    thread.since = 5.0
    assert not thread.is_granted


def test_a_finalizer_has_the_identifier_of_its_host() -> None:
    finalizer, host = Finalizer(), Thread()
    finalizer.host = host
    assert finalizer.ident == host.ident
