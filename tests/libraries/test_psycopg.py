"""psycopg 3 and psycopg2 against a server of the tests' own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.libraries.conftest import needs

LOCKED = """
import sys, threading
import capriccio_patch
capriccio_patch.patch_all()
{imports}
dsn = sys.argv[1]
holder, waiter = connect(dsn), connect(dsn)
def run(connection, text):
    cursor = connection.cursor()
    cursor.execute(text)
    return cursor.fetchall()
run(holder, "select pg_advisory_lock(7)")
pid = run(waiter, "select pg_backend_pid()")[0][0]
got = []
thread = threading.Thread(target=lambda: got.append(run(waiter, "select pg_advisory_lock(7)")))
thread.start()
asked = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
while not run(holder, f"{{asked}} and pid = {{pid}}")[0][0]:
    pass
assert not got
run(holder, "select pg_advisory_unlock(7)")
thread.join()
assert got
print(capriccio_patch.status()["libraries"])
"""
IMPORTS = {
    "psycopg2": "from psycopg2 import connect",
    "psycopg": "from psycopg import connect",
}


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("library", [pytest.param(each, marks=needs(each)) for each in IMPORTS])
def test_a_query_that_waits_lets_others_run(run_script: Any, postgresql: str, library: str) -> None:
    """A lock that another green thread's connection holds: a dead end, if all stood still."""
    done = run_script(LOCKED.format(imports=IMPORTS[library]), postgresql)
    assert library in done.stdout


@needs("psycopg2")
@pytest.mark.usefixtures("either_way")
def test_psycopg2_copies_named_cursors_and_large_objects(run_script: Any, postgresql: str) -> None:
    run_script(
        """
        import io, sys
        import capriccio_patch
        capriccio_patch.patch_all()
        import psycopg2
        with psycopg2.connect(sys.argv[1]) as connection:
            cursor = connection.cursor()
            cursor.execute("create temp table t (a int, b text)")
            cursor.copy_from(io.StringIO("".join(f"{n}\\tx\\n" for n in range(1000))), "t")
            out = io.StringIO()
            cursor.copy_to(out, "t")
            assert out.getvalue().count("x") == 1000
            with connection.cursor("on_the_server") as named:
                named.itersize = 10
                named.execute("select a from t order by a")
                assert named.fetchone() == (0,)
                assert named.fetchmany(2) == [(1,), (2,)]
                assert [a for a, in named] == [*range(3, 1000)]
            large = connection.lobject(0, "w")
            large.write(b"data")
            large.close()
            assert connection.lobject(large.oid, "rb").read() == b"data"
        try:
            cursor.execute("select no_such_column")
        except psycopg2.errors.UndefinedColumn as error:
            assert error.pgcode == "42703"
        connection.close()
        """,
        postgresql,
    )


@needs("psycopg")
@pytest.mark.usefixtures("either_way")
def test_a_wait_function_of_the_programs_own_choice_stays(run_script: Any) -> None:
    run_script(
        """
        import capriccio_patch
        from psycopg import waiting
        before = waiting.wait
        capriccio_patch.patch_all()
        in_c = before is getattr(waiting, "wait_c", None)
        is_hooked = capriccio_patch.status()["core"] == "compiled"
        assert waiting.wait is (waiting.wait_poll if in_c and not is_hooked else before)
        capriccio_patch.unpatch_all()
        assert waiting.wait is before
        """
    )
    run_script(
        """
        import capriccio_patch
        capriccio_patch.patch_all()
        from psycopg import waiting
        assert waiting.wait is waiting.wait_selector
        """,
        env={"PSYCOPG_WAIT_FUNC": "wait_selector"},
    )
