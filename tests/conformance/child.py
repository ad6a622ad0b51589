"""Runs one module of the interpreter's ``test`` package; started by `runner`, one process a module.

    child.py CONFIG EVENTS

It applies the patch as CONFIG (JSON) says, before it imports anything else or after it has imported
everything, loads the module as regrtest does, and appends one JSON line for each event to EVENTS,
by the operating system's own calls: nothing that is taken over is used for it.
"""

from __future__ import annotations

import sys


def main(config_path: str, events_path: str) -> None:
    import json
    import posix

    with open(config_path) as file:
        config = json.load(file)
    emit = _Emit(events_path, posix.open, posix.write, posix._exit)
    emit(e="phase", p="patch")
    mode = config["mode"]
    if mode == "late":
        _import_all(config["modules"])
    if mode != "stock":
        import capriccio_patch
        from capriccio_patch.cpython import originals

        emit.open, emit.write, emit.exit = (
            originals.os_open,
            originals.write,
            originals.process_exit,
        )
        capriccio_patch.patch_all()
        if mode == "undone":
            capriccio_patch.unpatch_all()
    emit(e="phase", p="setup")
    _set_up(config)
    _run(config, emit)


class _Emit:
    def __init__(self, path, open_, write, exit_):
        import json
        import posix
        import time

        self.path, self.open, self.write, self.exit = path, open_, write, exit_
        self.flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC
        self.close, self.getpid = posix.close, posix.getpid
        self.pid = posix.getpid()
        self.dumps, self.clock = json.dumps, time.monotonic
        self.last = 0.0

    def __call__(self, **event):
        if self.getpid() != self.pid:
            self.exit(123)  # a forked child that escaped from its test
        fd = self.open(self.path, self.flags, 0o600)
        try:
            self.write(fd, (self.dumps(event) + "\n").encode("ascii"))
        finally:
            self.close(fd)
        self.last = self.clock()


def _import_all(modules):
    import importlib

    for name in modules:
        try:
            importlib.import_module(f"test.{name}")
        except BaseException as error:  # skipped here, as it will be when it is run
            print(f"{name}: {error!r}", file=sys.stderr)


def _set_up(config):
    import os
    import random

    import test
    from test import support

    sys.argv[:] = [os.path.join(os.path.dirname(test.__file__), "__main__.py"), config["name"]]
    from test.libregrtest.setup import setup_process

    try:
        setup_process()
    except TypeError:  # 3.11 wants the options of regrtest
        import faulthandler
        import signal

        faulthandler.enable(all_threads=True)
        faulthandler.register(signal.SIGUSR1, chain=True)
        support.record_original_stdout(sys.stdout)
    support.verbose = support.failfast = support.PGO = support.PGO_EXTENDED = False
    support.junit_xml_list = None
    support.use_resources = tuple(config["resources"])
    random.seed(0)


def _run(config, emit):
    import importlib
    import traceback
    import unittest

    from test import support

    name = config["name"]
    emit(e="phase", p="import")
    try:
        module = importlib.import_module(f"test.{name}")
        emit(e="phase", p="load")
        tests = list(_flat(unittest.TestLoader().loadTestsFromModule(module)))
    except unittest.SkipTest as error:
        emit(e="module", o="skip", m=str(error)[:300])
        emit(e="done")
        return
    except Exception as error:
        traceback.print_exc()
        emit(e="module", o="error", m=f"{type(error).__name__}: {error}"[:400])
        emit(e="done")
        return
    _name_all(tests, f"test.{name}.")
    emit(e="loaded", ids=[each.conformance_id for each in tests])
    only = None if config["only"] is None else set(config["only"])
    passed_over = tuple(config["passed_over"])
    done = set(config["done"])
    suite_type, result = _reporting(emit)
    suite = suite_type(
        each
        for each in tests
        if each.conformance_id not in done
        and (only is None or each.conformance_id in only)
        and not (passed_over and each.conformance_id.startswith(passed_over))
    )
    tests.clear()
    support.gc_collect()

    def deeper(n):  # some tests want ten frames above them, as in regrtest
        if n:
            deeper(n - 1)
        else:
            suite(result)

    deeper(5)
    emit(e="phase", p="after")
    support.gc_collect()
    support.reap_children()
    emit(e="done")


def _flat(suite):
    import unittest

    for each in suite:
        if isinstance(each, unittest.BaseTestSuite):
            yield from _flat(each)
        else:
            yield each


def _name_all(tests, prefix):
    seen = {}
    for each in tests:
        try:
            name = str(each.id()).removeprefix(prefix)
        except Exception:
            name = repr(each)
        seen[name] = count = seen.get(name, 0) + 1
        each.conformance_id = name if count == 1 else f"{name}#{count}"


def _reporting(emit):
    import time
    import traceback
    import unittest

    rank = {"ok": 0, "xfail": 1, "skip": 2, "unexpected": 3, "fail": 4, "error": 5}

    def text(error):
        kind, value, trace = error
        sys.stderr.write("".join(traceback.format_exception(kind, value, trace))[-6000:])
        sys.stderr.flush()
        message = "".join(traceback.format_exception_only(kind, value)).strip()
        return message if len(message) < 400 else f"{message[:250]} ... {message[-140:]}"

    class Result(unittest.TestResult):
        current = None

        def startTest(self, test):
            super().startTest(test)
            self.begin(test)

        def begin(self, test):
            self.current = test.conformance_id
            self.outcome = self.message = None
            self.started = time.monotonic()
            emit(e="start", t=self.current)

        def stopTest(self, test):
            seconds = round(time.monotonic() - self.started, 3)
            emit(e="end", t=self.current, o=self.outcome or "error", m=self.message, s=seconds)
            self.current = None
            super().stopTest(test)

        def note(self, outcome, test, error=None, message=None):
            if self.current is None and hasattr(test, "conformance_id"):
                self.begin(test)  # 3.12.1 does not start a test whose class is to be skipped
            if error is not None:
                sys.stderr.write(f"\n===== {self.current or test}\n")
                message = text(error)
            if self.current is None:  # a fixture of a class or of the module
                emit(e="fixture", d=str(test), o=outcome, m=message)
            elif self.outcome is None or rank[outcome] > rank[self.outcome]:
                self.outcome, self.message = outcome, message

        def addSuccess(self, test):
            self.note("ok", test)

        def addFailure(self, test, err):
            self.note("fail", test, err)

        def addError(self, test, err):
            self.note("error", test, err)

        def addSkip(self, test, reason):
            self.note("skip", test, message=str(reason)[:200])

        def addExpectedFailure(self, test, err):
            self.note("xfail", test)

        def addUnexpectedSuccess(self, test):
            self.note("unexpected", test)

        def addSubTest(self, test, subtest, err):
            if err is not None:
                failed = issubclass(err[0], test.failureException)
                self.note("fail" if failed else "error", test, err)
            if time.monotonic() - emit.last > 1.0:
                emit(e="phase", p="subtest")

    class Suite(unittest.TestSuite):
        def _handleClassSetUp(self, test, result):
            if getattr(result, "_previousTestClass", None) is not test.__class__:
                emit(e="phase", p="class", c=unittest.util.strclass(test.__class__))
            super()._handleClassSetUp(test, result)

        def _handleModuleTearDown(self, result):
            emit(e="phase", p="after")
            super()._handleModuleTearDown(result)

    return Suite, Result()


if __name__ == "__main__":
    sys.path.pop(0)  # this folder
    main(*sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
