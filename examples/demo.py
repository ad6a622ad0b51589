"""Runs two unmodified threaded programs by plain python and by python -m capriccio_patch.

Prints for each run how long it took, the CPU time and memory it used, and the most OS threads that
it had at once (sampled). The programs, beside this file, know nothing of capriccio_patch.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

HERE = Path(__file__).parent
PROGRAMS = [("echo.py", "2000", "10"), ("sleepers.py", "10000")]
WAYS = [("python", ()), ("python -m capriccio_patch", ("-m", "capriccio_patch"))]
LIMIT = 15.0  # seconds for each run
SAMPLE = 0.1  # seconds between looks at the number of OS threads
MIB = (1 << 20) if sys.platform == "darwin" else (1 << 10)  # in the units of ru_maxrss


def measure(command: list[str]) -> tuple[bool, str]:
    """Run `command`; whether it succeeded, and what it took or how it failed, in one line."""
    os_threads = 0
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        process = psutil.Process(child.pid)
        while not (ended := os.wait4(child.pid, os.WNOHANG))[0]:
            os_threads = max(os_threads, process.num_threads())
            if time.monotonic() - started > LIMIT:
                process.kill()
            time.sleep(SAMPLE)
        wall = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(ended[1])
        errors.seek(0)
        reasons = errors.read().split("\n")
    if wall > LIMIT:
        return False, f"did not end within {LIMIT:.0f} s"
    if child.returncode:
        reason = next((line for line in reversed(reasons) if line), child.returncode)
        return False, f"failed: {reason}"
    usage = ended[2]
    cpu = usage.ru_utime + usage.ru_stime
    memory = usage.ru_maxrss / MIB
    return True, f"{wall:6.2f} s  {cpu:6.2f} s  {memory:6.0f} MiB  {os_threads:10d}"


def main() -> int:
    """Print the table; 1 if a program did not run on green threads, else 0."""
    failed = False
    print(f"{'':45}{'time':>8}  {'CPU':>8}  {'memory':>10}  {'OS threads':>10}", flush=True)
    for program in PROGRAMS:
        for way, flags in WAYS:
            command = [sys.executable, *flags, str(HERE / program[0]), *program[1:]]
            succeeded, line = measure(command)
            failed |= bool(flags) and not succeeded
            print(f"{way + ' ' + ' '.join(program):45}{line}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
