"""Which modules of the interpreter's ``test`` package belong to which set, and how each is run."""

from __future__ import annotations

from pathlib import Path

__all__ = ["LOOPBACK", "PASSED_OVER", "RESOURCES", "SETS", "expand"]

_CORE = """
test_socket test_select test_selectors test_poll test_epoll test_threading test_thread
test_threading_local test_threadsignals test_threadedtempfile test_importlib test_queue test_sched
test_time test_signal test_timeout test_eintr test_subprocess test_popen test_os test_posix
test_fork1 test_wait3 test_wait4 test_context test_contextlib test_contextlib_async
"""
_NETWORK = """
test_ssl test_httplib test_httpservers test_urllib test_urllib2 test_urllib2_localnet
test_urllib_response test_ftplib test_smtplib test_smtpd test_poplib test_imaplib test_nntplib
test_telnetlib test_socketserver test_asyncore test_asynchat test_xmlrpc test_docxmlrpc test_wsgiref
test_robotparser test_http_cookiejar test_http_cookies test_asyncio test_kqueue test_devpoll
"""
_FILES = """
test_io test_fileio test_file test_file_eintr test_bufio test_memoryio test_fileinput test_pty
test_openpty test_tty test_ioctl test_fcntl test_largefile test_mmap test_shutil test_tempfile
test_pathlib test_glob test_fnmatch test_filecmp test_fileutils test_posixpath test_genericpath
test_stat test_zipfile test_tarfile test_gzip test_bz2 test_lzma test_dbm test_dbm_dumb test_dbm_gnu
test_dbm_ndbm test_shelve test_mailbox test_netrc test_sqlite3 test_linecache test_univnewlines
test_configparser test_csv test_pickle test_getpass test_curses test_termios test_readline
"""
_PROCESSES = """
test_concurrent_futures test_multiprocessing_fork test_multiprocessing_forkserver
test_multiprocessing_spawn test_multiprocessing_main_handling test_logging test_syslog test_atexit
test_faulthandler test_pdb test_bdb test_trace test_sys_settrace test_sys_setprofile test_import
test_runpy test_cmd_line test_cmd_line_script test_interpreters test__interpreters
test__interpchannels test__xxinterpchannels test__xxsubinterpreters test_gc test_weakref test_sys
test_contextvars test_ctypes test_capi test_profile test_cprofile test_asyncgen test_coroutines
test_generators test_monitoring test_tracemalloc test_doctest test_code test_webbrowser
test_script_helper test_support test_resource test_pkg test_zipimport
"""
_IMPOSSIBLE = """
test_idle test_tk test_tix test_tkinter test_ttk test_ttk_guionly test_ttk_textonly test_turtle
test_bigmem test_bigaddrspace test_zipfile64 test_codecmaps_cn test_codecmaps_hk test_codecmaps_jp
test_codecmaps_kr test_codecmaps_tw test_winconsoleio test_winreg test_winsound test_winapi
test_msilib test_startfile test_wmi test_ossaudiodev test_launcher test_xmlrpc_net test_smtpnet
test_urllibnet test_urllib2net test_gdb test_cppext test_cext test_peg_generator test_freeze
"""
# They want a display, another system, the internet, tens of gigabytes, or a compiler and CPython's
# sources; they can still be named one by one.
SETS: dict[str, list[str]] = {
    "core": _CORE.split(),
    "network": _NETWORK.split(),
    "files": _FILES.split(),
    "processes": _PROCESSES.split(),
    "rest": [],
}
"""Names of modules; ``rest`` is whatever else the interpreter has."""

RESOURCES = ["subprocess", "curses", "decimal", "walltime", "cpu"]
LOOPBACK = {"test_socketserver", "test_timeout"}
"""They ask for the resource ``network`` and, but for what is passed over, need only loopback."""
PASSED_OVER = {
    "test_timeout": ["TCPTimeoutTestCase."],  # a host on the internet
    "test_socket": ["ThreadedVSOCKSocketStreamTest."],  # the host of a virtual machine
}
_PARTS = {
    "test_asyncio",
    "test_concurrent_futures",
    "test_inspect",
    "test_multiprocessing_fork",
    "test_multiprocessing_forkserver",
    "test_multiprocessing_spawn",
}
"""Packages whose modules are run one by one."""


def expand(names: list[str], tests: Path) -> list[str]:
    """The modules that `names` (of sets and modules) stand for and that the folder `tests` has."""
    found: dict[str, None] = {}
    for name in names:
        for module in _of_rest(tests) if name == "rest" else SETS.get(name, [name]):
            found.update(dict.fromkeys(_parts(module, tests)))
    return list(found)


def _of_rest(tests: Path) -> list[str]:
    named = set(_IMPOSSIBLE.split()).union(*SETS.values())
    entries = (each.name.removesuffix(".py") for each in sorted(tests.glob("test_*")))
    return [name for name in entries if name not in named]


def _parts(module: str, tests: Path) -> list[str]:
    place = tests.joinpath(*module.split("."))
    if module in _PARTS and place.is_dir():
        return [f"{module}.{part.stem}" for part in sorted(place.glob("test_*.py"))]
    exists = place.with_suffix(".py").exists() or (place / "__init__.py").exists()
    return [module] if exists else []
