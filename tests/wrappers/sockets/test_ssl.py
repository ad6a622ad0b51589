"""TLS sockets park the thread that waits, and do everything else as stock does."""

from __future__ import annotations

import http.client
import http.server
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from capriccio_patch.cpython import originals
from tests.conftest import in_order

CERTIFICATE = Path(__file__).with_name("tls.pem")
BIG = os.urandom(1 << 20) * 8


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(CERTIFICATE))


Pair = tuple[ssl.SSLSocket, ssl.SSLSocket]


def handshaken(one: socket.socket, other: socket.socket) -> Pair:
    """TLS over a pair of connected sockets; the server's handshake is made by a thread."""
    server = server_context().wrap_socket(one, server_side=True, do_handshake_on_connect=False)
    client = client_context().wrap_socket(
        other, server_hostname="localhost", do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.do_handshake)
    thread.start()
    client.do_handshake()
    thread.join()
    return server, client


@pytest.fixture
def pair(patched: None) -> Iterator[Pair]:
    server, client = handshaken(*socket.socketpair())
    with server, client:
        yield server, client


def in_thread(call: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Make a call in a thread; what is returned joins it and gives the result or the exception."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(call(*args))
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def join() -> Any:
        thread.join()
        return result[0]

    return join


def until_parked(count: int) -> None:
    """Let others run until nothing is left for them to do but to wait."""
    for _ in range(count):
        threading.Event().wait(0.001)


def receive(sock: ssl.SSLSocket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        data += sock.recv(size - len(data)) or b"end"
    return bytes(data)


def test_a_read_lets_others_run(pair: Pair, ticker: Any) -> None:
    server, client = pair
    with ticker().at(3, lambda: server.sendall(b"late")):
        assert client.recv(10) == b"late"


def test_a_read_into_a_buffer_lets_others_run(pair: Pair, ticker: Any) -> None:
    server, client = pair
    buffer = bytearray(10)
    with ticker().at(3, lambda: server.sendall(b"late")):
        assert client.recv_into(buffer) == 4
    assert buffer == b"late" + bytes(6)


def test_a_record_is_read_in_pieces(pair: Pair) -> None:
    server, client = pair
    server.sendall(b"abcdef")
    assert [client.recv(2), client.pending(), client.recv(2), client.recv(9)] == [
        b"ab",
        4,
        b"cd",
        b"ef",
    ]


def test_a_write_that_fills_the_socket_lets_others_run(pair: Pair) -> None:
    server, client = pair
    sent = in_thread(server.sendall, BIG)
    assert receive(client, len(BIG)) == BIG
    assert sent() is None


def test_both_directions_at_once_by_two_threads_each(pair: Pair) -> None:
    received = [in_thread(receive, each, len(BIG)) for each in pair]
    sent = [in_thread(each.sendall, BIG) for each in pair]
    assert [join() for join in sent] == [None, None]
    assert [join() == BIG for join in received] == [True, True]


def test_a_parked_reader_does_not_stop_a_writer(pair: Pair) -> None:
    server, client = pair
    answer = in_thread(client.recv, 10)
    until_parked(3)
    client.sendall(b"question")
    assert server.recv(10) == b"question"
    server.sendall(b"answer")
    assert answer() == b"answer"


def test_several_writers_take_turns_when_the_socket_is_full(pair: Pair) -> None:
    server, client = pair
    blocks = [bytes([n]) * 3_000_000 for n in range(4)]
    joins = [in_thread(server.send, block) for block in blocks]
    until_parked(3)
    received = receive(client, sum(map(len, blocks)))
    assert [join() for join in joins] == [len(block) for block in blocks]
    size = len(blocks[0])
    parts = [received[at : at + size] for at in range(0, len(received), size)]
    assert in_order(parts) == blocks


def test_readers_are_served_in_the_order_in_which_they_came(pair: Pair) -> None:
    server, client = pair
    joins = [in_thread(client.recv, 1) for _ in range(3)]
    until_parked(3)
    server.sendall(b"abc")
    assert in_order([join() for join in joins]) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("timeout", [0.01, 0])
def test_timeouts_say_what_stock_says(pair: Pair, timeout: float) -> None:
    server, client = pair
    client.settimeout(timeout)
    error = TimeoutError if timeout else ssl.SSLWantReadError
    with pytest.raises(error) as read:
        client.recv(1)
    with pytest.raises(error) as shut:
        client.unwrap()
    server.settimeout(timeout)
    with pytest.raises(TimeoutError if timeout else ssl.SSLWantWriteError) as write:
        server.sendall(BIG)
    assert client.gettimeout() == timeout
    if timeout:
        assert str(read.value) == str(shut.value) == "The read operation timed out"
        assert str(write.value) == "The write operation timed out"


def stock_handshake_error() -> str:
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(0.01)
        with pytest.raises(TimeoutError) as raised:
            client_context().wrap_socket(one, server_hostname="localhost")
    return str(raised.value)


UNPATCHED = stock_handshake_error()


def test_the_timeout_of_a_handshake_says_what_stock_says(patched: None) -> None:
    assert re.fullmatch(r"_ssl\.c:\d+: The handshake operation timed out", UNPATCHED)
    assert stock_handshake_error() == UNPATCHED


def test_a_handshake_lets_others_run(ticker: Any) -> None:
    one, other = socket.socketpair()
    server = server_context().wrap_socket(one, server_side=True, do_handshake_on_connect=False)
    with server, ticker().at(3, lambda: in_thread(server.do_handshake)):
        client = client_context().wrap_socket(other, server_hostname="localhost")
    assert client.version() == "TLSv1.3"
    client.close()


def test_a_handshake_that_a_reader_completes_is_over(patched: None) -> None:
    one, other = socket.socketpair()
    server = server_context().wrap_socket(one, server_side=True, do_handshake_on_connect=False)
    client = client_context().wrap_socket(
        other, server_hostname="localhost", do_handshake_on_connect=False
    )
    with server, client:
        data = in_thread(client.recv, 5)
        until_parked(3)
        handshake = in_thread(client.do_handshake)
        until_parked(3)
        server.do_handshake()
        assert handshake() is None
        server.sendall(b"hello")
        assert data() == b"hello"


def test_accept_shakes_hands(patched: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        listener = server_context().wrap_socket(plain, server_side=True)

        def serve() -> bytes:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(connection.recv(10).upper())
                return connection.recv(10)

        with listener:
            served = in_thread(serve)
            with (
                socket.create_connection(listener.getsockname()) as raw,
                client_context().wrap_socket(raw, server_hostname="localhost") as client,
            ):
                client.sendall(b"hello")
                assert client.recv(10) == b"HELLO"
            assert served() == b""


def test_an_unwrapped_socket_is_plain_and_blocking_again(pair: Pair) -> None:
    server, client = pair
    client.sendall(b"x")
    other = in_thread(lambda: (server.recv(10), server.recv(10), server.unwrap()))
    plain = client.unwrap()
    assert other() == (b"x", b"", server)
    assert os.get_blocking(plain.fileno())
    assert os.get_blocking(server.fileno())
    data = in_thread(plain.recv, 10)
    until_parked(3)
    server.sendall(b"clear")
    assert data() == b"clear"


def test_a_detached_descriptor_is_blocking_again(pair: Pair) -> None:
    _, client = pair
    fd = client.detach()
    try:
        assert os.get_blocking(fd)
    finally:
        os.close(fd)


def test_the_program_sees_its_own_timeouts(pair: Pair) -> None:
    server, client = pair
    assert (client.gettimeout(), client.getblocking()) == (None, True)
    server.sendall(b"a")
    assert client.recv(1) == b"a"
    client.settimeout(5)
    assert client.gettimeout() == 5
    client.setblocking(False)
    with pytest.raises(ssl.SSLWantReadError):
        client.recv(1)
    client.settimeout(None)
    data = in_thread(client.recv, 1)
    until_parked(3)
    server.sendall(b"b")
    assert data() == b"b"


def test_a_timeout_set_while_another_thread_reads_leaves_it_waiting(pair: Pair) -> None:
    server, client = pair
    data = in_thread(client.recv, 1)
    until_parked(3)
    client.settimeout(None)
    in_thread(server.recv, 1)
    server.sendall(b"b")
    assert data() == b"b"
    client.sendall(b"c")


def test_the_end_of_the_stream_wakes_the_reader(pair: Pair) -> None:
    server, client = pair
    data = in_thread(client.recv, 1)
    until_parked(3)
    server.close()
    found = data()
    # OpenSSL 3.6 answers with an alert, which a UNIX socket without a peer refuses.
    assert found == b"" or isinstance(found, BrokenPipeError)


def test_closing_wakes_who_reads(pair: Pair) -> None:
    _, client = pair
    data = in_thread(client.recv, 1)
    until_parked(3)
    client.close()
    assert isinstance(data(), OSError)


def test_wrong_arguments_are_refused_as_in_stock(pair: Pair) -> None:
    _, client = pair
    with pytest.raises(TypeError, match="bytes-like object"):
        client.send("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        client._sslobj.read("1")  # type: ignore[attr-defined]
    client.settimeout(0)
    with pytest.raises(TypeError):
        client._sslobj.read("1")  # type: ignore[attr-defined]


def test_objects_over_memory_never_wait(patched: None) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    assert outgoing.pending


def test_an_os_thread_of_the_programs_own_shares_the_socket(pair: Pair) -> None:
    server, client = pair
    done = originals.allocate_lock()
    originals.lock_acquire(done)
    got: list[Any] = []

    def outside() -> None:
        try:
            got.append(client.recv(10))
            client.settimeout(0.01)
            client.recv(10)
        except BaseException as error:
            got.append(str(error))
        finally:
            originals.lock_release(done)

    originals.start_new_thread(outside, ())
    originals.sleep(0.01)
    server.sendall(b"across")
    assert originals.lock_acquire(done, True, 10)
    assert got == [b"across", "The read operation timed out"]


def test_a_socket_wrapped_before_the_patch_is_served(run_script: Any) -> None:
    run_script(
        """
        import os, socket, ssl, sys, threading
        sys.path.insert(0, sys.argv[2])
        certificate = sys.argv[1]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        one, other = socket.socketpair()
        server = context.wrap_socket(one, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.do_handshake)
        thread.start()
        context = ssl.create_default_context(cafile=certificate)
        client = context.wrap_socket(other, server_hostname="localhost")
        thread.join()
        stored = client._sslobj.read

        import capriccio_patch
        capriccio_patch.patch_all()
        for read in client.recv, stored:
            got = []
            thread = threading.Thread(target=lambda: got.append(read(10)))
            thread.start()
            threading.Event().wait(0.001)
            server.sendall(b"late")
            thread.join()
            assert got == [b"late"]
        assert not os.get_blocking(client.fileno())
        capriccio_patch.unpatch_all()
        assert os.get_blocking(client.fileno()) and client.gettimeout() is None
        server.sendall(b"after")
        assert client.recv(10) == b"after"
        """,
        str(CERTIFICATE),
        "",
    )


def test_http_over_tls_by_many_threads(patched: None) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = BIG[: int(self.path[1:])]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = server_context().wrap_socket(server.socket, server_side=True)
    serving = in_thread(server.serve_forever, 0.01)

    def fetch(size: int) -> bool:
        connection = http.client.HTTPSConnection(
            "localhost", server.server_address[1], context=client_context()
        )
        for _ in range(2):
            connection.request("GET", f"/{size}")
            if connection.getresponse().read() != BIG[:size]:
                return False
        connection.close()
        return True

    joins = [in_thread(fetch, size) for size in (0, 1, 1000, 100_000, 1_000_000)]
    assert [join() for join in joins] == [True] * 5
    server.shutdown()
    serving()
    server.server_close()
