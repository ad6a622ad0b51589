"""The unpatched callables that the package itself uses, bound once, at import.

Builtins are taken over in place, so a reference is not enough: each one here is a clone
(`interpose.clone`) that keeps calling the C function.  Methods of C types are their descriptors,
called with the object first: ``lock_acquire(lock, False)``.

Outside this module and ``wrappers/`` no name of the standard library that is patched is used.
"""

from __future__ import annotations

import _io
import _multiprocessing  # type: ignore[import-not-found]
import _queue
import _signal  # type: ignore[import-not-found]  # no stub
import _socket
import _thread
import builtins
import fcntl as _fcntl
import posix
import select
import sys
import time

from greenlet import greenlet

from .interpose import clone
from .threads import unite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    import _posixsubprocess
except ImportError:
    fork_exec: Any = None
else:
    fork_exec = clone(_posixsubprocess.fork_exec)

try:
    import resource
except ImportError:
    getrusage: Any = None
else:
    getrusage = clone(resource.getrusage)

unite(_thread)
get_ident = clone(_thread.get_ident)
get_native_id: Any = clone(getattr(_thread, "get_native_id", None)) or (lambda: 0)
start_new_thread = clone(_thread.start_new_thread)
set_os_name: Any = clone(getattr(_thread, "set_name", None))
get_os_name: Any = clone(getattr(_thread, "_get_name", None))
thread_count = clone(_thread._count)
thread_excepthook = clone(_thread._excepthook)
TIMEOUT_MAX = _thread.TIMEOUT_MAX
if hasattr(_thread, "_set_sentinel"):
    set_sentinel = clone(_thread._set_sentinel)
if hasattr(_thread, "_ThreadHandle"):
    ThreadHandleType: Any = _thread._ThreadHandle
    # The type stubs of some versions lack these.
    make_thread_handle = clone(getattr(_thread, "_make_thread_handle"))  # noqa: B009
    start_joinable_thread = clone(getattr(_thread, "start_joinable_thread"))  # noqa: B009
    thread_shutdown = clone(getattr(_thread, "_shutdown"))  # noqa: B009
    handle_join = ThreadHandleType.__dict__["join"]
    handle_is_done = ThreadHandleType.__dict__["is_done"]
    handle_set_done = ThreadHandleType.__dict__["_set_done"]
allocate_lock = clone(_thread.allocate_lock)

LockType = _thread.LockType
RLockType = _thread.RLock
SimpleQueueType = _queue.SimpleQueue
SocketType = _socket.socket

greenlet_switch: Any = greenlet.__dict__["switch"]
greenlet_throw: Any = greenlet.__dict__["throw"]

lock_acquire = LockType.__dict__["acquire"]
lock_release = LockType.__dict__["release"]
lock_locked = LockType.__dict__["locked"]
rlock_acquire = RLockType.__dict__["acquire"]
rlock_release = RLockType.__dict__["release"]
rlock_is_owned = RLockType.__dict__["_is_owned"]
rlock_recursion_count = RLockType.__dict__.get("_recursion_count")
rlock_release_save = RLockType.__dict__["_release_save"]
rlock_acquire_restore = RLockType.__dict__["_acquire_restore"]
queue_put = SimpleQueueType.__dict__["put"]
queue_get = SimpleQueueType.__dict__["get"]
QueueEmpty = _queue.Empty

monotonic = clone(time.monotonic)
sleep = clone(time.sleep)
process_time = clone(time.process_time)
clock_gettime: Any = clone(getattr(time, "clock_gettime", None))
thread_time_ns: Any = clone(getattr(time, "thread_time_ns", time.process_time_ns))
thread_time = clone(getattr(time, "thread_time", time.process_time))

read = clone(posix.read)
write = clone(posix.write)
readinto: Any = clone(getattr(posix, "readinto", None))  # from CPython 3.14
close = clone(posix.close)
access = clone(posix.access)
pipe = clone(posix.pipe)
getpid = clone(posix.getpid)
listdir = clone(posix.listdir)
lstat = clone(posix.lstat)
mkdir = clone(posix.mkdir)
unlink = clone(posix.unlink)
readlink = clone(posix.readlink)
process_exit = clone(posix._exit)
set_blocking = clone(posix.set_blocking)
get_blocking = clone(posix.get_blocking)
os_open = clone(posix.open)
stat = clone(posix.stat)
dup2 = clone(posix.dup2)
closerange = clone(posix.closerange)
fcntl = clone(_fcntl.fcntl)
fcntl_lockf = clone(_fcntl.lockf)
flock = clone(_fcntl.flock)
os_lockf: Any = clone(posix.lockf) if hasattr(posix, "lockf") else None
dup = clone(posix.dup)
# None where the system has no such call.
readv: Any = clone(getattr(posix, "readv", None))
writev = clone(getattr(posix, "writev", None))
preadv: Any = clone(getattr(posix, "preadv", None))  # macOS has it from 11
pwritev = clone(getattr(posix, "pwritev", None))
sendfile = clone(getattr(posix, "sendfile", None))
splice = clone(getattr(posix, "splice", None))
eventfd_read = clone(getattr(posix, "eventfd_read", None))
eventfd_write = clone(getattr(posix, "eventfd_write", None))
fstat = clone(posix.fstat)
lseek = clone(posix.lseek)
fsync = clone(posix.fsync)
fdatasync = clone(posix.fdatasync) if hasattr(posix, "fdatasync") else fsync
pwrite = clone(posix.pwrite)
pread = clone(posix.pread)
isatty = clone(posix.isatty)

waitpid = clone(posix.waitpid)
wait3 = clone(posix.wait3) if hasattr(posix, "wait3") else None
wait4 = clone(posix.wait4) if hasattr(posix, "wait4") else None
waitid = clone(posix.waitid) if hasattr(posix, "waitid") else None
pidfd_open = clone(posix.pidfd_open) if hasattr(posix, "pidfd_open") else None
system = clone(posix.system)

SemLockType: Any = getattr(_multiprocessing, "SemLock", None)  # None where there is no sem_open
if SemLockType is not None:
    semlock_acquire = SemLockType.__dict__["acquire"]
    semlock_release = SemLockType.__dict__["release"]
    semlock_is_mine = SemLockType.__dict__["_is_mine"]

input = clone(builtins.input)  # noqa: A001

_fileio_methods = _io.FileIO.__dict__
fileio_init = _fileio_methods["__init__"]
fileio_close = _fileio_methods["close"]
fileio_closed = _fileio_methods["closed"].__get__
fileio_closefd = _fileio_methods["closefd"].__get__
fileio_fileno = _fileio_methods["fileno"]
fileio_read = _fileio_methods["read"]
fileio_readall = _fileio_methods["readall"]
fileio_readable = _fileio_methods["readable"]
fileio_readinto = _fileio_methods["readinto"]
fileio_seekable = _fileio_methods["seekable"]
fileio_truncate = _fileio_methods["truncate"]
fileio_writable = _fileio_methods["writable"]
fileio_write = _fileio_methods["write"]

select_select = clone(select.select)
poll = clone(select.poll) if hasattr(select, "poll") else None
if poll is not None:
    PollType: Any = type(poll())
    poll_poll = PollType.__dict__["poll"]
if hasattr(select, "epoll"):
    EpollType: Any = select.epoll
    epoll_poll = EpollType.__dict__["poll"]
    epoll_close = EpollType.__dict__["close"]
if hasattr(select, "kqueue"):
    kqueue_control = select.kqueue.__dict__["control"]
    kqueue_close = select.kqueue.__dict__["close"]
if hasattr(select, "devpoll"):
    DevpollType: Any = type(select.devpoll())
    devpoll_poll = DevpollType.__dict__["poll"]

set_signal = clone(_signal.signal)
get_signal = clone(_signal.getsignal)
set_wakeup_fd = clone(_signal.set_wakeup_fd)
SIG_BLOCK: Any = getattr(_signal, "SIG_BLOCK", None)
valid_signals = clone(_signal.valid_signals)
interrupt_main = clone(_thread.interrupt_main)
raise_signal = clone(_signal.raise_signal)
# None where the system has no such call.
pause = clone(getattr(_signal, "pause", None))
pthread_kill = clone(getattr(_signal, "pthread_kill", None))
pthread_sigmask = clone(getattr(_signal, "pthread_sigmask", None))
siginterrupt = clone(getattr(_signal, "siginterrupt", None))
sigpending = clone(getattr(_signal, "sigpending", None))
sigtimedwait = clone(getattr(_signal, "sigtimedwait", None))
sigwait = clone(getattr(_signal, "sigwait", None))
sigwaitinfo = clone(getattr(_signal, "sigwaitinfo", None))
SiginfoType: Any = getattr(_signal, "struct_siginfo", None)
pthread_getcpuclockid = clone(getattr(time, "pthread_getcpuclockid", None))

settrace = clone(sys.settrace)
gettrace = clone(sys.gettrace)
getprofile = clone(sys.getprofile)
current_frames = clone(sys._current_frames)

_socket_methods = SocketType.__dict__
socket_init = _socket_methods["__init__"]
socket_fileno = _socket_methods["fileno"]
socket_family = _socket_methods["family"].__get__
socket_type = _socket_methods["type"].__get__
socket_proto = _socket_methods["proto"].__get__
socket_gettimeout = _socket_methods["gettimeout"]
socket_settimeout = _socket_methods["settimeout"]
socket_setblocking = _socket_methods["setblocking"]
socket_close = _socket_methods["close"]
posix_spawns = {
    name: clone(getattr(posix, name))
    for name in ("posix_spawn", "posix_spawnp")
    if hasattr(posix, name)
}
socket_setsockopt = _socket_methods["setsockopt"]
socket_getsockopt = _socket_methods["getsockopt"]
socket_close_number = clone(_socket.close)
socket_detach = _socket_methods["detach"]
socket_accept = _socket_methods["_accept"]
socket_bind = _socket_methods["bind"]
socket_connect = _socket_methods["connect"]
socket_connect_ex = _socket_methods["connect_ex"]
socket_recv = _socket_methods["recv"]
socket_recv_into = _socket_methods["recv_into"]
socket_recvfrom = _socket_methods["recvfrom"]
socket_recvfrom_into = _socket_methods["recvfrom_into"]
socket_recvmsg = _socket_methods["recvmsg"]
socket_recvmsg_into = _socket_methods["recvmsg_into"]
socket_send = _socket_methods["send"]
socket_sendall = _socket_methods["sendall"]
socket_sendto = _socket_methods["sendto"]
socket_sendmsg = _socket_methods["sendmsg"]

getaddrinfo = clone(_socket.getaddrinfo)
gethostbyname = clone(_socket.gethostbyname)
gethostbyname_ex = clone(_socket.gethostbyname_ex)
gethostbyaddr = clone(_socket.gethostbyaddr)
getnameinfo = clone(_socket.getnameinfo)
inet_pton = clone(_socket.inet_pton)

getswitchinterval = clone(sys.getswitchinterval)
setswitchinterval = clone(sys.setswitchinterval)
