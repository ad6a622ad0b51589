"""``python -m capriccio_patch.bench report``: one page of all that was measured.

The page holds its pictures, so that it can be sent alone; the pictures lie beside it as PNG, and
what they show as JSON and CSV.  It says nothing that is not in those files: sentences about what
was found are made from the figures, and the paper's findings stand beside them as such.
"""

from __future__ import annotations

import argparse
import base64
import json
from html import escape
from pathlib import Path
from typing import Any

from . import findings, micro, options
from .harness import conditions, runtimes
from .harness.sequence import COMPLETE
from .limits import each
from .results import summary

PAGE = "report.html"
_CLIENT_HEADS = (
    "requests/s", "of the ideal", "swing", "open", "median", "99 %", "failed", "of them reset",
)  # fmt: skip
_SERVER_HEADS = (
    "CPU", "for each request", "switches/s", "for each request", "memory", "OS threads",
    "processes",
)  # fmt: skip
_STYLE = """
body{font:16px/1.5 system-ui,"DejaVu Sans",sans-serif;color:#222;max-width:1000px;margin:2em auto;
padding:0 1em}
h1{font-size:1.7em;margin-bottom:.2em}
h2{font-size:1.3em;margin-top:2em;border-bottom:1px solid #ddd}
img{max-width:100%;height:auto;display:block;margin:1em 0}
table{border-collapse:collapse;font-size:.82em;margin:1em 0;display:block;overflow-x:auto}
td{white-space:nowrap}td.text{white-space:normal}
th,td{padding:.25em .7em;border-bottom:1px solid #e4e4e4;text-align:right;vertical-align:top}
th:first-child,td:first-child,td.text,th.text{text-align:left}
th{background:#f4f6f8;font-weight:600}
blockquote{margin:1em 0;padding:.5em 1em;background:#f6f3ea;border-left:4px solid #c9b26b}
.found{padding:.5em 1em;background:#eef5fb;border-left:4px solid #1769aa;margin:1em 0}
.small{font-size:.85em;color:#555}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("folder", type=Path, help="what `paper` wrote")


def run(args: argparse.Namespace) -> int:
    """Write the page anew; the exit status."""
    if reason := options.need("matplotlib"):
        return options.fail("report", reason)
    try:
        print(f"report: {write(args.folder)}")
    except (OSError, ValueError, KeyError) as error:
        return options.fail("report", f"no results can be read in {args.folder}: {error}")
    return 0


def write(folder: Path) -> Path:
    """Draw the figures of the results in `folder`, and write the page; where it is."""
    about = json.loads((folder / "about.json").read_text())
    loads = [json.loads(path.read_text()) for path in sorted(folder.glob("load-*.json"))]
    order = runtimes.THREADED.index
    loads.sort(
        key=lambda it: (it["threads"], it["delay"], order(runtimes.find(it["runtime"]).name))
    )
    seen = [it for it in loads if len(it["columns"]["second"]) > 1]
    body = [_head(about)]
    if loads:
        body.append(_overview(loads, about))
    body += _figures(folder, seen, about)
    for name, section in (("limits", _limits), ("micro", _micro)):
        if (folder / f"{name}.json").exists():
            body.append(section(folder, json.loads((folder / f"{name}.json").read_text())))
    body.append(_conditions(about))
    page = folder / PAGE
    page.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width">'
        f"<title>One thread for each connection</title><style>{_STYLE}</style>"
        f"<body>{''.join(body)}</body></html>\n"
    )
    return page


def _head(about: dict[str, Any]) -> str:
    quick = " This is a quick run, of small sizes and short times." if about["quick"] else ""
    return (
        "<h1>One thread for each connection</h1>"
        f"<p class=small>{escape(about['conditions']['date'])}</p>"
        "<p>The experiments of <em>Performance Analysis of 64-Bit Capriccio</em> (sections 6 and 7)"
        ", on Python. A server has N threads; each accepts a connection, waits for a set delay, "
        "answers, closes, and begins again. N client threads connect, read the answer, and begin "
        "again. Both are plain <code>socket</code> and <code>threading</code> programs; only what "
        "runs the server's threads differs: <b>capriccio_patch</b>, <b>stock threads</b> of the "
        "operating system, <b>gevent</b>, <b>eventlet</b>. N threads that each wait for the delay "
        "can give no more than N / delay answers in a second: the <em>ideal</em>. Waiting is all "
        f"the load there is, as in the paper.{quick}</p>"
    )


def _overview(loads: list[dict[str, Any]], about: dict[str, Any]) -> str:
    cpus = about["conditions"]["cpus"]
    clients = ("threads", "delay", "runtime", *_CLIENT_HEADS)
    servers = ("threads", "delay", "runtime", *_SERVER_HEADS)
    seen, took, notes = [], [], []
    for it in loads:
        found = summary(it, cpus)
        title = runtimes.title(it["runtime"])
        which = [f"{it['threads']:,}", f"{it['delay']:g} s", title]
        seen.append(which + (_seen(it, found) if found else ["-"] * len(_CLIENT_HEADS)))
        took.append(which + (_took(it, found) if found else ["-"] * len(_SERVER_HEADS)))
        which_run = f"{title}, {it['threads']:,} threads, {it['delay']:g} s"
        if found.get("spent"):
            part = 100 * found["part"]
            notes.append(f"{which_run}: {part:.0f} % of the ideal; spent is {found['spent']}.")
        if it["ended"] != COMPLETE:
            notes.append(f"{which_run}: ended early: {it['ended']}.")
        if it["failures"]:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in it["failures"].items())
            notes.append(f"{which_run}: failed requests: {kinds}.")
        if it["notes"]:
            more = f" ({len(it['notes']) - 1} others too)" if len(it["notes"]) > 1 else ""
            notes.append(f"{which_run}: a process said: {it['notes'][0][:200]}{more}")
    notes += [f"{runtimes.title(it['runtime'])}: {it['reason']}." for it in about["refused"]]
    return (
        "<h2>Summary</h2>"
        "<p>What the clients saw, once warm: after each has had time for its first answer. "
        "<em>Swing</em> is the standard deviation of requests/s as a part of their mean: the "
        "bursts. Median and 99 % are those of the response times, beyond the delay.</p>"
        + _table(clients, seen, text=(2,))
        + "<p>What the server took in that time: CPU of its processes, as a part of one CPU; "
        "context switches of their OS threads; memory, resident and for page tables. Processes "
        "are the server's and the "
        f"clients': one process may open {about['conditions']['descriptors']:,} files here, so "
        "larger servers are spread over several, each with its own port and its share of the "
        "threads and of the clients. Under gevent and eventlet a second thread that waits for a "
        "socket gets an error, so there the server's threads take turns by a lock to accept.</p>"
        + _table(servers, took, text=(2,))
        + _list(notes)
        + _found("What capriccio_patch loses and wins here", findings.verdicts(loads, cpus))
    )


def _seen(record: dict[str, Any], found: dict[str, Any]) -> list[str]:
    return [
        f"{found['requests']:,.0f}",
        f"{100 * found['part']:.1f} %",
        f"{100 * found['swing']:.0f} %",
        f"{found['open']:,.0f}",
        _time(found["median"]),
        _time(found["p99"]),
        f"{sum(record['failures'].values()):,}",
        f"{record['failures'].get('ECONNRESET', 0):,}",
    ]


def _took(record: dict[str, Any], found: dict[str, Any]) -> list[str]:
    processes = record["processes"]
    return [
        f"{100 * found['server_cpu']:.0f} %",
        f"{1e6 * found['cpu_each']:.0f} us",
        f"{found['switches']:,.0f}",
        f"{found['switches_each']:.2f}",
        f"{found['memory'] / (1 << 20):,.0f} MiB",
        f"{found['os_threads']:,.0f}",
        f"{len(processes['servers'])} + {len(processes['clients'])}",
    ]


def _figures(folder: Path, loads: list[dict[str, Any]], about: dict[str, Any]) -> list[str]:
    from . import plots

    if not loads:
        return []
    cpus = about["conditions"]["cpus"]
    base = findings.base_delay(loads)
    by_size: dict[int, list[dict[str, Any]]] = {}
    for it in loads:
        if it["delay"] == base:
            by_size.setdefault(it["threads"], []).append(it)
    sections = []
    if by_size:
        sections += [
            "<h2>7.1 Requests per second</h2>",
            _paper(findings.REQUESTS),
            _image(plots.requests(folder, "requests.png", by_size)),
            "<p class=small>Grey: clients still begin, and wait for their first answer.</p>",
            _found("Here", findings.requests(by_size, cpus)),
            "<h2>7.2 Open connections</h2>",
            _paper(findings.CONNECTIONS),
            _image(plots.connections(folder, "connections.png", by_size)),
            _found("Here", findings.connections(by_size, cpus)),
            "<h2>7.3 Total throughput</h2>",
            _paper(findings.THROUGHPUT),
            _image(plots.throughput(folder, "throughput.png", by_size)),
            f"<p class=small>Each answer has {loads[0]['payload']:,} bytes.</p>",
            _found("Here", findings.throughput(by_size)),
            "<h2>The server, as vmstat would show it</h2>",
        ]
        for size, records in by_size.items():
            sections += [
                f"<h3>{size:,} threads</h3>",
                _image(plots.server(folder, f"server-{size}.png", records)),
                _found("Swap", findings.swapped(records, cpus)),
            ]
    series = findings.delay_series(loads)
    if len(series) > 1:
        sections += [
            "<h2>7.5.2 Open connections by delay</h2>",
            _paper(findings.DELAYS),
            f"<p>{runtimes.title(series[0]['runtime'])}, {series[0]['threads']:,} threads.</p>",
            _image(plots.delays(folder, "delays.png", series)),
            _found("Here", findings.delays(series, cpus)),
        ]
    return sections


def _limits(folder: Path, result: dict[str, Any]) -> str:
    from . import plots

    heads = (
        "runtime",
        "threads",
        "time",
        "CPU",
        "CPU for each",
        "memory for each",
        "OS threads",
        "stopped by",
    )
    rows = []
    for found in result["runtimes"]:
        last = found["steps"][-1] if found["steps"] else None
        row = [runtimes.title(found["runtime"])]
        if last and last["threads"]:
            row += [
                f"{last['threads']:,}",
                f"{last['seconds']:.2f} s",
                f"{last['cpu']:.2f} s",
                f"{1e6 * last['cpu'] / last['threads']:.0f} us",
                f"{each(found, last) / 1024:.1f} KiB",
                f"{last['os_threads']:,}",
            ]
        else:
            row += ["-"] * 6
        ended = found["ended"] if found["ended"] != COMPLETE else ""
        rows.append([*row, found["stopped_by"] or ended or "nothing: all that were asked for"])
    return (
        "<h2>7.4 and 7.5.1 How many threads there can be</h2>"
        + _paper(findings.LIMITS)
        + "<p>Threads that only wait, started one after the other. Memory counts page tables, and "
        "16 KiB in the kernel for each OS thread.</p>"
        + _table(heads, rows, text=(7,))
        + _image(plots.created(folder, "threads.png", result["runtimes"]))
    )


def _micro(folder: Path, result: dict[str, Any]) -> str:
    found = result["runtimes"]
    heads = ["microseconds of CPU, median", *(runtimes.title(it["runtime"]) for it in found)]
    rows = [[title, *(micro.cell(it, key) for it in found)] for key, title in micro.rows(found)]
    return (
        "<h2>The primitives</h2>"
        "<p>What the first paper on Capriccio (SOSP 2003, section 4) measured of thread packages, "
        "each on one CPU, in CPU time, so that other programs do not count. <em>hangs</em>: the "
        "call blocks all threads of that runtime, which does not take it over; what comes after "
        "was not run.</p>" + _table(heads, rows)
    )


def _conditions(about: dict[str, Any]) -> str:
    rows = [list(pair) for pair in conditions.lines(about["conditions"])]
    return (
        "<h2>What this was measured on</h2>"
        "<p>Clients and server share the machine, so they share its CPUs; in the paper each had "
        "machines of its own.</p>" + _table(("", ""), rows, text=(1,))
    )


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _table(heads: Any, rows: list[list[str]], text: tuple[int, ...] = ()) -> str:
    def cells(tag: str, row: Any) -> str:
        return "".join(
            f"<{tag}{' class=text' if place in text else ''}>{escape(it)}</{tag}>"
            for place, it in enumerate(row)
        )

    lines = [f"<tr>{cells('td', row)}</tr>" for row in rows]
    return f"<table><tr>{cells('th', heads)}</tr>{''.join(lines)}</table>"


def _list(items: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(it)}</li>' for it in items)}</ul>" if items else ""


def _paper(text: str) -> str:
    return f"<blockquote><b>The paper found:</b> {escape(text)}</blockquote>"


def _found(title: str, items: list[str]) -> str:
    return f"<div class=found><b>{escape(title)}:</b>{_list(items)}</div>" if items else ""


def _image(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(path.stem)}">'
