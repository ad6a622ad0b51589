"""Several kernels in one process: what they share works as it does in one."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from capriccio_patch import PatchError
from capriccio_patch.config import Settings
from capriccio_patch.processors import choice
from capriccio_patch.processors.choice import Single, processors_for
from capriccio_patch.processors.several import Several
from tests.conftest import RunScript
from tests.processors.conftest import BEGIN, needs_monitoring

pytestmark = needs_monitoring
Run = Callable[..., str]


class TestWhatIsAskedFor:
    def test_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(choice, "has_gil", lambda: False)
        assert type(processors_for(Settings.load({}), bool)) is Single
        assert type(processors_for(Settings.load({}, processors=2), bool)) is Several

    @pytest.mark.parametrize("number", ["auto", "4"])
    def test_with_the_gil_it_is_one(self, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
        monkeypatch.setattr(choice, "has_gil", lambda: True)
        monkeypatch.setattr(choice, "also_with_gil", False)
        settings = Settings.load({"CAPRICCIO_CORE": "compiled"}, processors=number)
        assert type(processors_for(settings, bool)) is Single

    def test_a_core_that_is_for_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(choice, "has_gil", lambda: False)
        settings = Settings.load({"CAPRICCIO_CORE": "compiled"}, processors=2)
        with pytest.raises(PatchError, match="for one processor"):
            processors_for(settings, bool)

    def test_it_is_told(self, several: Run) -> None:
        code = "print(api.status()['processors'], api.status()['core'])"
        assert several(code) == "3 Python: the compiled core is for one processor\n"


class TestWhatIsShared:
    def test_locks(self, several: Run) -> None:
        code = """
        lock, rlock, counts = threading.Lock(), threading.RLock(), [0, 0]
        def work():
            for turn in range(300):
                with lock:
                    count = counts[0]
                    if turn % 7 == 0:
                        time.sleep(0)
                    counts[0] = count + 1
                with rlock, rlock:
                    count = counts[1]
                    if turn % 5 == 0:
                        time.sleep(0)
                    counts[1] = count + 1
        spread(*[work] * 9)
        print(counts)
        """
        assert several(code) == "[2700, 2700]\n"

    def test_an_owner_is_one_thread(self, several: Run) -> None:
        code = """
        lock = threading.RLock()
        with lock:
            print(elsewhere(lambda: lock.acquire(timeout=0.01)))
            try:
                elsewhere(lock.release)
            except RuntimeError as error:
                print(error)
        print(elsewhere(lambda: lock.acquire(timeout=1) and lock.release()))
        """
        assert several(code) == "False\ncannot release un-acquired lock\nNone\n"

    def test_conditions_in_turns(self, several: Run) -> None:
        code = """
        condition, turn = threading.Condition(), [0]
        def work(number):
            for _ in range(50):
                with condition:
                    while turn[0] % 6 != number:
                        condition.wait()
                    turn[0] += 1
                    condition.notify_all()
        spread(*[lambda number=number: work(number) for number in range(6)])
        print(turn)
        """
        assert several(code) == "[300]\n"

    def test_events_and_timeouts(self, several: Run) -> None:
        code = """
        events = [threading.Event() for _ in range(30)]
        def work(number):
            found = events[number].wait(10)
            if number + 1 < len(events):
                events[number + 1].set()
            return found
        events[0].set()
        spread(*[lambda number=number: work(number) for number in range(30)])
        print(all(each.is_set() for each in events))
        print(elsewhere(lambda: threading.Event().wait(0.01)))
        """
        assert several(code) == "True\nFalse\n"

    @pytest.mark.parametrize("kind", ["Queue", "Queue(3)", "SimpleQueue", "LifoQueue"])
    def test_queues(self, several: Run, kind: str) -> None:
        made = kind if kind.endswith(")") else f"{kind}()"
        code = f"""
        import queue
        items, taken = queue.{made}, queue.SimpleQueue()
        def put():
            for number in range(500):
                items.put(number)
        def take():
            while (item := items.get()) is not None:
                taken.put(item)
        def end():
            while taken.qsize() < 2000:
                time.sleep(0.001)
            for _ in range(4):
                items.put(None)
        spread(*[put, take] * 4, end)
        print(sum(taken.get() for _ in range(2000)))
        """
        assert several(code) == f"{4 * sum(range(500))}\n"

    def test_ends_are_waited_for_from_everywhere(self, several: Run) -> None:
        code = """
        gate = threading.Event()
        one = threading.Thread(target=gate.wait)
        one.start()
        over = []
        def join():
            one.join()
            over.append(one.is_alive())
        threading.Timer(0.05, gate.set).start()
        spread(*[join] * 6)
        print(over)
        """
        assert several(code) == f"{[False] * 6}\n"

    def test_locals_and_identities(self, several: Run) -> None:
        code = """
        local, idents, all_here = threading.local(), [], threading.Barrier(30)
        def work():
            local.mine = threading.get_ident()
            idents.append(local.mine)
            all_here.wait()
            time.sleep(0.01)
            assert local.mine == threading.get_ident() == threading.current_thread().ident
        spread(*[work] * 30)
        print(len(set(idents)))
        """
        assert several(code) == "30\n"

    def test_imports(self, several: Run) -> None:
        code = """
        names = "json", "decimal", "email.message", "http.server", "sqlite3", "asyncio", "queue"
        spread(*[lambda name=name: __import__(name) for name in names * 3])
        print(all(name in sys.modules for name in names))
        """
        assert several(code) == "True\n"


class TestDescriptors:
    def test_a_connection_goes_from_kernel_to_kernel(self, several: Run) -> None:
        code = """
        import socket
        listener = socket.create_server(("127.0.0.1", 0))
        def serve(peer):
            with peer:
                while data := peer.recv(100):
                    peer.sendall(data)
        def accept():
            for _ in range(10):
                peer, _ = listener.accept()
                threading.Thread(target=serve, args=(peer,)).start()
        def ask():
            with socket.create_connection(listener.getsockname()) as own:
                for _ in range(10):
                    own.sendall(b"x" * 20)
                    left = 20
                    while left:
                        left -= len(own.recv(100))
        spread(accept, accept, *[ask] * 20)
        print("done")
        """
        assert several(code) == "done\n"

    def test_closing_ends_waits_on_all_kernels(self, several: Run) -> None:
        code = """
        import socket
        listener = socket.create_server(("127.0.0.1", 0))
        errors = []
        def accept():
            try:
                listener.accept()
            except OSError as error:
                errors.append(error.errno)
        threading.Timer(0.1, listener.close).start()
        spread(*[accept] * 6)
        print(errors)
        """
        assert several(code) == f"{[9] * 6}\n"

    def test_a_number_that_is_used_again(self, several: Run) -> None:
        code = """
        import socket
        for turn in range(50):
            one, other = socket.socketpair()
            def answer():
                assert other.recv(1) == b"a"
                other.sendall(b"b")
            def ask():
                one.sendall(b"a")
                assert one.recv(1) == b"b"
            spread(*([ask, answer] if turn % 2 else [answer, ask]))
            one.close()
            other.close()
        print("done")
        """
        assert several(code) == "done\n"

    def test_select_poll_and_epoll(self, several: Run) -> None:
        code = """
        import select, socket
        def work():
            one, other = socket.socketpair()
            threading.Timer(0.05, other.send, (b"x",)).start()
            poll = select.poll()
            poll.register(one, 1)
            found = bool(poll.poll(5000))
            return found, select.select([one], [], [], 1)[0] == [one]
        print(elsewhere(work))
        """
        assert several(code) == "(True, True)\n"

    def test_files(self, several: Run) -> None:
        code = """
        import tempfile
        def work():
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "file")
                with open(path, "wb") as file:
                    file.write(b"y" * 3_000_000)
                with open(path, "rb") as file:
                    return len(file.read()), os.listdir(folder)
        print(elsewhere(work))
        """
        assert several(code) == "(3000000, ['file'])\n"


class TestSignalsAndProcesses:
    def test_handlers_run_in_the_main_thread(self, several: Run) -> None:
        code = """
        import signal
        names = []
        signal.signal(signal.SIGUSR1, lambda *_: names.append(threading.current_thread().name))
        def kill():
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        elsewhere(kill)
        elsewhere(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        time.sleep(0.05)
        print(set(names))
        try:
            elsewhere(lambda: signal.signal(signal.SIGUSR1, signal.SIG_DFL))
        except ValueError as error:
            print(error)
        """
        assert several(code) == (
            "{'MainThread'}\nsignal only works in main thread of the main interpreter\n"
        )

    def test_a_mask_is_that_of_all_kernels_and_children(self, several: Run) -> None:
        code = """
        import signal, subprocess
        def mask_of_a_child():
            code = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
            return subprocess.check_output([sys.executable, "-c", code], text=True)
        print(elsewhere(mask_of_a_child), end="")
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)
        print(signal.sigwait({signal.SIGUSR1}))
        print(elsewhere(mask_of_a_child), end="")
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        print(elsewhere(lambda: signal.sigwait({signal.SIGUSR1})))
        """
        assert several(code) == "set()\n10\n{<Signals.SIGUSR1: 10>}\n10\n"

    def test_a_child_that_is_forked_has_one_kernel(self, several: Run) -> None:
        code = """
        import signal
        def fork():
            read, write = os.pipe()
            pid = os.fork()
            if not pid:
                said = []
                signal.signal(signal.SIGUSR1, lambda *_: said.append(1))
                os.kill(os.getpid(), signal.SIGUSR1)
                thread = threading.Thread(target=said.append, args=(2,))
                thread.start()
                thread.join()
                time.sleep(0.01)
                state = api.status()["processors"], api.status()["threads"]
                is_main = threading.current_thread() is threading.main_thread()
                os.write(write, f"{said} {state} {is_main}".encode())
                os._exit(7)
            os.close(write)
            found = b""
            while data := os.read(read, 100):
                found += data
            return found.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        for kernel in MAIN, SECOND, THIRD:
            print(*on(kernel, fork))
        """
        assert several(code) == "[1, 2] (1, 1) True 7\n" * 3

    def test_a_child_that_returns(self, several: Run) -> None:
        code = """
        def fork():
            if pid := os.fork():
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            print("child", flush=True)
            return None
        print(elsewhere(fork))
        """
        assert several(code) == "child\n0\n"

    def test_processes(self, several: Run) -> None:
        code = """
        import multiprocessing, subprocess
        def work():
            context = multiprocessing.get_context("fork")
            numbers = context.Queue()
            process = context.Process(target=numbers.put, args=(5,))
            process.start()
            found = numbers.get()
            process.join()
            done = subprocess.run(["sh", "-c", "echo hi; exit 3"], capture_output=True)
            return found, process.exitcode, done.returncode, done.stdout
        print(elsewhere(work))
        """
        assert several(code) == "(5, 0, 3, b'hi\\n')\n"


class TestFromOutside:
    def test_interrupts_and_exceptions(self, several: Run) -> None:
        code = """
        import ctypes
        import capriccio_patch
        ended = []
        def wait():
            try:
                time.sleep(30)
            except KeyError:
                ended.append(True)
        def interrupt():
            time.sleep(0.1)
            for thread in threading.enumerate():
                if thread.name.endswith("(wait)"):
                    assert capriccio_patch.interrupt(thread, KeyError)
        spread(*[wait] * 6, interrupt)
        print(ended)
        def raise_in_itself():
            try:
                ident = ctypes.c_ulong(threading.get_ident())
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(ValueError))
                for _ in range(1000):
                    pass
            except ValueError:
                return "raised"
        print(elsewhere(raise_in_itself))
        """
        assert several(code) == f"{[True] * 6}\nraised\n"

    def test_frames_and_dumps(self, several: Run) -> None:
        code = """
        import capriccio_patch
        gate = threading.Event()
        def wait_here():
            gate.wait()
        def look():
            time.sleep(0.1)
            frames = sys._current_frames()
            names = {frames[each.ident].f_code.co_name for each in threading.enumerate()}
            print("wait_here" in names, len(frames) == threading.active_count(), flush=True)
            capriccio_patch.dump(1)
            gate.set()
        spread(*[wait_here] * 3, look)
        """
        said = several(code)
        assert said.startswith("True True\n")
        assert said.count("wait_here") >= 3


class TestTheEnd:
    def test_daemons(self, several: Run) -> None:
        code = """
        def work():
            while True:
                time.sleep(0.001)
        def begin():
            threading.Thread(target=work, daemon=True).start()
        spread(*[begin] * 12)
        print("end")
        """
        assert several(code) == "end\n"

    def test_the_others_are_waited_for(self, several: Run) -> None:
        code = """
        ends = threading.Event()
        def work():
            ends.wait()
            time.sleep(0.05)
            print("work", flush=True)
        def begin():
            threading.Thread(target=work).start()
        spread(*[begin] * 3)
        print("end", flush=True)
        ends.set()
        """
        assert several(code) == "end\n" + "work\n" * 3

    def test_undone_and_applied_again(self, run_script: RunScript) -> None:
        code = """
        import os, threading, time
        import capriccio_patch
        from capriccio_patch.processors import choice
        choice.also_with_gil = True
        for number in 3, 2, 1, 4:
            capriccio_patch.patch_all(processors=number)
            threads = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(9)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            while (status := capriccio_patch.status())["threads"] > 1:
                time.sleep(0.001)
            capriccio_patch.unpatch_all()
            print(status["processors"], capriccio_patch.is_patched("time.sleep"))
        """
        assert run_script(code).stdout == "3 False\n2 False\n1 False\n4 False\n"

    def test_an_exception_of_a_thread(self, run_script: RunScript) -> None:
        code = """
        def work():
            raise ValueError("told")
        spread(work, work, work)
        """
        assert run_script(BEGIN + textwrap.dedent(code)).stderr.count("ValueError: told") == 3


def test_a_forked_child_may_notify_who_waits_on_another_kernel(several: Run) -> None:
    text = several(
        """
        condition = threading.Condition()
        def wait():
            with condition:
                condition.wait()
        thread = threading.Thread(target=wait)
        started([thread], [SECOND])
        while not (condition._waiters and SECOND.blocking):
            time.sleep(0.001)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with condition:
                    condition.notify_all()
                status = 0
            finally:
                os._exit(status)
        print(os.waitpid(child, 0)[1])
        with condition:
            condition.notify_all()
        thread.join()
        """
    )
    assert text == "0\n"
