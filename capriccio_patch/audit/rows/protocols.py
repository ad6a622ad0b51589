"""Servers and clients of the standard library, end to end: the answer comes late."""

from __future__ import annotations

import contextlib
import ftplib
import http.client
import http.server
import imaplib
import logging.handlers
import poplib
import smtplib
import socket
import socketserver
import threading
import time
import urllib.request
import xmlrpc.client
from typing import Any

from ..scene import DELAY, Scene, fill, row
from .certificate import client_context, server_context


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers late."""

    def do_GET(self) -> None:
        time.sleep(DELAY)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"abc")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(DELAY)
        body = xmlrpc.client.dumps(("abc",), methodresponse=True).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def _http_server() -> http.server.ThreadingHTTPServer:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _get(connection: http.client.HTTPConnection) -> Any:
    connection.request("GET", "/")
    with connection.getresponse() as response:
        return response.status, response.read()


def _dialogue(scene: Scene, *lines: str) -> tuple[str, int]:
    """The address of a server that sends the first line at once and each of the others in answer to
    a line; the last one comes late."""
    listener = scene.listener()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as file:
            for number, line in enumerate(lines):
                command = file.readline().decode().split() if number else [""]
                if number == len(lines) - 1:
                    time.sleep(DELAY)
                file.write(line.replace("TAG", command[0]).encode() + b"\r\n")
                file.flush()
            file.readline()

    threading.Thread(target=serve, daemon=True).start()
    host, port = listener.getsockname()
    return host, port


@row("http.client")
def _(scene: Scene) -> Any:
    connection = http.client.HTTPConnection(*_http_server().server_address[:2])  # type: ignore[arg-type]
    return scene.wait(_get, connection)


@row("http.client over TLS")
def _(scene: Scene) -> Any:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.socket = server_context().wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection = http.client.HTTPSConnection(
        "localhost", server.server_address[1], context=client_context()
    )
    return scene.wait(_get, connection)


@row("urllib.request.urlopen")
def _(scene: Scene) -> Any:
    url = f"http://127.0.0.1:{_http_server().server_address[1]}/"
    with scene.wait(urllib.request.urlopen, url) as response:
        return response.read()


@row("xmlrpc.client")
def _(scene: Scene) -> Any:
    url = f"http://127.0.0.1:{_http_server().server_address[1]}/"
    with xmlrpc.client.ServerProxy(url) as proxy:
        return scene.wait(proxy.method, "abc")


@row("socketserver.handle_request")
def _(scene: Scene) -> Any:
    class Echo(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline())

    with socketserver.TCPServer(("127.0.0.1", 0), Echo) as server:
        client = socket.socket()

        def talk() -> None:
            client.connect(server.server_address)
            client.send(b"abc\n")

        scene.after(talk)
        scene.wait(server.handle_request)
        return client.recv(10)


@row("socketserver.serve_forever")
def _(scene: Scene) -> Any:
    with socketserver.ThreadingTCPServer(
        ("127.0.0.1", 0), socketserver.BaseRequestHandler
    ) as server:
        scene.after(server.shutdown)
        return scene.wait(server.serve_forever)


@row("smtplib.SMTP")
def _(scene: Scene) -> Any:
    return scene.wait(smtplib.SMTP, *_dialogue(scene, "220 ready")).__class__


@row("smtplib.SMTP.noop")
def _(scene: Scene) -> Any:
    client = smtplib.SMTP(*_dialogue(scene, "220 ready", "250 done"))
    return scene.wait(client.noop)


@row("poplib.POP3")
def _(scene: Scene) -> Any:
    client = poplib.POP3(*_dialogue(scene, "+OK ready", "+OK 2 320"))
    return scene.wait(client.stat)


@row("imaplib.IMAP4")
def _(scene: Scene) -> Any:
    address = _dialogue(scene, "* OK ready", "* CAPABILITY IMAP4REV1\r\nTAG OK done", "TAG OK done")
    client = imaplib.IMAP4(*address)
    return scene.wait(client.noop)


@row("ftplib.FTP")
def _(scene: Scene) -> Any:
    client = ftplib.FTP()
    client.connect(*_dialogue(scene, "220 ready", '257 "/here"'))
    return scene.wait(client.pwd)


@row("logging.handlers.SocketHandler")
def _(scene: Scene) -> Any:
    listener = scene.listener()
    handler = logging.handlers.SocketHandler(*listener.getsockname())
    handler.createSocket()
    connection, _ = listener.accept()
    assert handler.sock
    fill(handler.sock.fileno())

    def close() -> None:
        with contextlib.suppress(OSError):
            while connection.recv(1_000_000, socket.MSG_DONTWAIT):
                pass

    scene.after(close)
    return scene.wait(handler.handle, logging.makeLogRecord({"msg": "abc"}))
