"""mysqlclient against a MariaDB, and pycurl through an nginx, where they are installed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.libraries.conftest import needs

pytestmark = pytest.mark.usefixtures("either_way")


@needs("MySQLdb")
def test_mysqlclient_lets_others_run(run_script: Any, mariadb: str) -> None:
    """A lock that another green thread's connection holds: a dead end, if all stood still."""
    run_script(
        """
        import sys, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        import MySQLdb
        def connect():
            return MySQLdb.connect(unix_socket=sys.argv[1], user="root", read_timeout=50)
        def run(connection, text):
            cursor = connection.cursor()
            cursor.execute(text)
            return cursor.fetchall()
        holder, waiters = connect(), [connect() for _ in range(5)]
        assert run(holder, "select get_lock('here', 0)") == ((1,),)
        got = []
        def wait(number):
            text = f"select {number}, get_lock('here', 50), release_lock('here')"
            got.append(run(waiters[number], text))
        threads = [threading.Thread(target=wait, args=(number,)) for number in range(5)]
        for each in threads:
            each.start()
        asked = "select count(*) from information_schema.processlist where state = 'User lock'"
        while run(holder, asked) != ((5,),):
            pass
        assert not got
        run(holder, "select release_lock('here')")
        for each in threads:
            each.join()
        assert sorted(got) == [((number, 1, 1),) for number in range(5)], got
        assert "mysqlclient" in capriccio_patch.status()["libraries"]
        """,
        mariadb,
    )


@needs("MySQLdb")
def test_no_query_of_mysqlclient_gets_the_answer_to_another_one(
    run_script: Any, mariadb: str
) -> None:
    """Threads are interrupted in the middle of their queries, and keep their connections."""
    run_script(
        """
        import sys, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        import MySQLdb.connections  # whole, before anything is interrupted
        class Interrupt(Exception): pass
        rows, wrong, cut = [], [], []
        def query(connection, number):
            cursor = connection.cursor()
            cursor.execute(f"select {number}, sleep(0.002)")
            row = cursor.fetchone()
            (rows if row[0] == number else wrong).append((number, row))
        def work(first):
            connection = MySQLdb.connect(unix_socket=sys.argv[1], user="root", read_timeout=50)
            for number in range(first, first + 40):
                try:
                    query(connection, number)
                except Interrupt:
                    cut.append(number)
                except MySQLdb.Error:
                    connection = MySQLdb.connect(unix_socket=sys.argv[1], user="root")
        def guarded(first):
            try:
                work(first)
            except Interrupt:
                pass
        threads = [threading.Thread(target=guarded, args=(n * 1000,)) for n in range(1, 7)]
        for each in threads:
            each.start()
        for number in range(20):
            time.sleep(0.004)
            capriccio_patch.interrupt(threads[number % 6], Interrupt)
        for each in threads:
            each.join()
        assert not wrong, wrong
        assert rows and cut
        """,
        mariadb,
    )


@needs("pycurl")
def test_pycurl_through_nginx(run_script: Any, nginx: tuple[int, int]) -> None:
    """What nginx asks is a server of the same program: a dead end, if all stood still."""
    run_script(
        """
        import http.server, io, sys, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        import pycurl
        front, behind = map(int, sys.argv[1:])
        together = threading.Barrier(5)
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                together.wait(50)
                body = self.path.encode() * 10_000
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            def log_message(self, *args): pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", behind), Handler)
        threading.Thread(target=server.serve_forever).start()
        got = []
        def ask(number):
            curl, body = pycurl.Curl(), io.BytesIO()
            curl.setopt(pycurl.URL, f"http://127.0.0.1:{front}/{number}")
            curl.setopt(pycurl.NOPROXY, "*")
            curl.setopt(pycurl.TIMEOUT, 50)
            curl.setopt(pycurl.WRITEDATA, body)
            curl.perform()
            got.append(body.getvalue() == f"/{number}".encode() * 10_000)
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        server.shutdown()
        assert got == [True] * 5, got
        """,
        *map(str, nginx),
    )
