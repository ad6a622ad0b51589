"""The recipes of docs/servers.md run, and what they start comes up patched, or not if so asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integrations.recipes import Recipe, Served, free_port
from tests.integrations.servers import Connection, Process

Start = Callable[..., Process]

TELL = """\
import json, os
def told():
    import capriccio_patch
    return json.dumps([os.environ.get("RUN_MAIN"), capriccio_patch.status().get("patched_by")])
"""
ASK = """\
from celery import group
from tasks import double
print(sum(group(double.s(number) for number in range(50))().get(timeout=60)))
"""
WSGI = """\
# manage.py
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path
from tell import told

settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="secret", ALLOWED_HOSTS=["*"], DEBUG=True)
urlpatterns = [path("", lambda request: HttpResponse(told()))]
execute_from_command_line(sys.argv)
"""
ASGI = """\
# app.py
from tell import told

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": told().encode()})
"""


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip where one of these is missing."""
    missing = [each for each in packages if find_spec(each) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture
def start(tmp_path: Path, environ: dict[str, str]) -> Iterator[Start]:
    """A function: run a recipe until the test is over."""
    started: list[Process] = []

    def begin(recipe: Recipe, *options: str, command: str = "", **more: str) -> Process:
        process = recipe.start(tmp_path, environ | more, *options, command=command)
        started.append(process)
        return process

    yield begin
    for each in started:
        each.process.terminate()
    for each in started:
        try:
            each.process.wait(10)
        except subprocess.TimeoutExpired:
            each.end(others="(?!)")


def answer(process: Process, connection: Connection) -> str:
    """What the server says, once there is one."""
    said: list[str] = []

    def asked() -> list[str]:
        assert process.process.poll() is None, process.text()
        try:
            said.append(connection.get())
        except OSError:
            pass
        finally:
            connection.close()
        return said

    process.until(asked)
    return said[0]


@needs("flask", "gunicorn")
def test_flask(start: Start, tmp_path: Path) -> None:
    process = start(Recipe("Flask"), "-b", "unix:socket")
    assert answer(process, Connection(tmp_path / "socket")) == "200 done"


@needs("django")
def test_django(start: Start) -> None:
    port = free_port()
    process = start(Recipe("Django"), str(port))
    assert answer(process, Served(port)) == "200 done"


@needs("fastapi", "uvicorn")
def test_fastapi(start: Start, tmp_path: Path) -> None:
    process = start(Recipe("FastAPI"), "--uds", "socket")
    assert answer(process, Connection(tmp_path / "socket")) == '200 "done"'


@needs("celery", "redis")
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server")
def test_celery(start: Start, tmp_path: Path, environ: dict[str, str]) -> None:
    redis = Process(
        ["redis-server", "--port", "0", "--save", "", "--unixsocket", str(tmp_path / "redis")],
        tmp_path,
        environ,
    )
    url = f"redis+socket://{tmp_path}/redis"
    places = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
    try:
        redis.until((tmp_path / "redis").exists)
        start(Recipe("Celery"), "--without-mingle", **places)
        asked = subprocess.run(
            [
                sys.executable,
                "-c",
                ASK,
            ],
            cwd=tmp_path,
            env=environ | places,
            capture_output=True,
            text=True,
        )
        assert asked.stdout == "2450\n", asked.stderr
    finally:
        redis.end(others="(?!)")


@needs("sqlalchemy")
def test_sqlalchemy(start: Start) -> None:
    process = start(Recipe("SQLAlchemy"))
    assert process.process.wait(60) == 0, process.text()
    assert process.text() == "39800\n"


@needs("nbclient", "ipykernel")
def test_jupyter(tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", environ["PYTHONPATH"])
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    cells = [nbformat.v4.new_code_cell(text) for text in (Recipe("Jupyter").program, "print(2)")]
    book = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(book, timeout=60, kernel_name="python3").execute()
    assert [cell["outputs"][0]["text"] for cell in book.cells] == ["1000\n", "2\n"]


PROGRAMS = {
    "runserver": (WSGI, "manage.py runserver --skip-checks"),
    "uvicorn": (ASGI, "-m uvicorn --workers 2 app:app --port"),
    "hypercorn": (ASGI, "-m hypercorn -w 2 app:app -b"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_servers_come_up_patched_or_not(start: Start, tmp_path: Path, name: str) -> None:
    package = {"runserver": "django"}.get(name, name)
    if find_spec(package) is None:
        pytest.skip(f"not installed: {package}")
    (tmp_path / "tell.py").write_text(TELL)
    program, command = PROGRAMS[name]
    again = '"true"' if name == "runserver" else "null"
    ports = {by: free_port() for by in ('"parent process"', "null")}

    def tell(by: str) -> str:
        recipe = Recipe("Flask")
        recipe.program = program
        option = "--no-children" if by == "null" else ""
        address = f"127.0.0.1:{ports[by]}" if name == "hypercorn" else str(ports[by])
        process = start(recipe, address, command=f"python -m capriccio_patch {option} {command}")
        return answer(process, Served(ports[by]))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(tell, ports)) == [f"200 [{again}, {by}]" for by in ports]
