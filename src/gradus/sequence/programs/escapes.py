"""Ways out of the sandbox that are tried: each is a program that says ESCAPED when it got somewhere it should not.

What cannot be seen from inside is looked for outside: a file touched, a listener called, a signal received, a process
left, a folder not removed. `try_escapes()` runs all of them and returns what each came to.
"""

import contextlib
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gradus.sequence.programs.sandbox import Limits, Outcome, run_program

__all__ = ["ESCAPES", "Attempt", "try_escapes"]

LIMITS = Limits(seconds=1.5, cpu=1, memory=512, output=4096)
SECRET = "a secret of the parent's"

# What every program can use: `tried` says ESCAPED unless an attempt raises, or gives back something false.
BEGIN = """
import os, sys
SECRET, FOLDER, TCP, UDP, UNIX, PARENT, HELD = {secret!r}, {folder!r}, {tcp}, {udp}, {unix!r}, {parent}, {held}
def tried(attempt):
    try:
        found = attempt()
    except (Exception, SystemExit) as error:
        return
    if found not in (False, None, -1):
        os.write(1, b'ESCAPED ')
def raw(*arguments):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    found = libc.syscall(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    return found >= 0
"""

# Numbers of syscalls on x86-64; elsewhere those attempts ask for something else that must be refused just the same.
ESCAPES = {
    "endless loop": "while True: pass",
    "sleep for ever": """
import time
while True:
    try: time.sleep(10**6)
    except BaseException: pass
""",
    "fork bomb": """
for _ in range(100):
    tried(lambda: os.fork() + 1)
""",
    "thread bomb": """
import threading, time
for _ in range(100):
    tried(lambda: threading.Thread(target=time.sleep, args=(100,)).start() or True)
""",
    "memory bomb": """
held = []
for _ in range(2000):
    held.append(bytearray(2**20))
print('ESCAPED')
""",
    "mapped memory": """
import mmap
tried(lambda: mmap.mmap(-1, 2**32).size())
""",
    "shared memory": """
from multiprocessing import shared_memory
tried(lambda: shared_memory.SharedMemory('gradus', True, 2**20).size)
tried(lambda: os.memfd_create('a') + 1)
tried(lambda: raw(29, 0, 2**20, 0o1600))
""",
    "disk filling": """
import tempfile
for place in ('a', FOLDER + '/b', '/tmp/gradus-c', '/dev/shm/gradus-d', '/var/tmp/gradus-e'):
    tried(lambda: open(place, 'wb').write(b'x' * 2**20))
    tried(lambda: os.mkdir(place) or True)
    tried(lambda: os.mkfifo(place) or True)
tried(lambda: tempfile.TemporaryFile().write(b'x'))
""",
    "huge output": """
while True: print('x' * 10**6)
""",
    "huge error": """
while True: sys.stderr.write('x' * 10**6)
""",
    "read /etc/passwd": """
tried(lambda: open('/etc/passwd').read())
tried(lambda: os.listdir('/etc'))
tried(lambda: os.listdir('/'))
""",
    "read a file outside": """
import io, pathlib, mmap, linecache, ctypes
tried(lambda: open(SECRET).read())
tried(lambda: pathlib.Path(SECRET).read_text())
tried(lambda: io.open_code(SECRET).read())
tried(lambda: os.read(os.open(SECRET, os.O_RDONLY), 9))
tried(lambda: linecache.getline(SECRET, 1) or False)
tried(lambda: ctypes.CDLL(None).open(SECRET.encode(), 0))
tried(lambda: raw(257, -100, ctypes.c_char_p(SECRET.encode()), 0))
tried(lambda: raw(2, ctypes.c_char_p(SECRET.encode()), 0))
tried(lambda: raw(437, -100, ctypes.c_char_p(SECRET.encode()), ctypes.create_string_buffer(24), 24))
""",
    "write outside": """
for mode in ('w', 'a', 'r+', 'x'):
    tried(lambda: open(SECRET, mode).write('x'))
    tried(lambda: open(FOLDER + '/new', mode).write('x'))
tried(lambda: os.truncate(SECRET, 0) or True)
tried(lambda: os.open(FOLDER, os.O_RDWR | os.O_TMPFILE))
""",
    "delete, rename, change": """
import shutil
tried(lambda: os.unlink(SECRET) or True)
tried(lambda: os.rename(SECRET, SECRET + '2') or True)
tried(lambda: os.chmod(SECRET, 0o777) or True)
tried(lambda: os.chown(SECRET, 1, 1) or True)
tried(lambda: os.utime(SECRET, (0, 0)) or True)
tried(lambda: os.setxattr(SECRET, 'user.a', b'b') or True)
tried(lambda: shutil.rmtree(FOLDER) or True)
tried(lambda: os.rmdir(os.getcwd()) or True)
""",
    "links and other names": """
tried(lambda: os.symlink(SECRET, 'link') or True)
tried(lambda: os.link(SECRET, 'link') or True)
tried(lambda: open('link').read())
for root in ('/proc/self/root', '/proc/self/cwd/../..', os.getcwd() + '/../..', '/proc/1/root', '/dev/fd/../root'):
    tried(lambda: open(root + SECRET).read())
tried(lambda: os.chdir(FOLDER) or open(os.path.basename(SECRET)).read())
tried(lambda: os.chroot(FOLDER) or True)
""",
    "tcp": """
import socket, urllib.request
tried(lambda: socket.create_connection(('127.0.0.1', TCP), 1).send(b'x'))
tried(lambda: urllib.request.urlopen(f'http://127.0.0.1:{TCP}', timeout=1))
tried(lambda: socket.socket().bind(('127.0.0.1', 0)) or True)
""",
    "udp": """
import socket
tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', UDP)))
""",
    "unix sockets": """
import socket
tried(lambda: socket.socket(socket.AF_UNIX).connect(UNIX) or True)
tried(lambda: socket.socketpair())
""",
    "names of the network": """
import socket
tried(lambda: socket.getaddrinfo('example.org', 80))
tried(lambda: socket.gethostbyname('example.org'))
tried(lambda: open('/etc/hosts').read())
""",
    "signals": """
import fcntl, signal
for number in (0, signal.SIGURG):
    tried(lambda: os.kill(PARENT, number) or True)
    tried(lambda: os.kill(os.getppid(), number) or True)
    tried(lambda: os.killpg(PARENT, number) or True)
    tried(lambda: signal.pidfd_send_signal(os.pidfd_open(PARENT), number) or True)
    tried(lambda: raw(234, PARENT, PARENT, number))
    tried(lambda: raw(200, PARENT, number))
tried(lambda: os.kill(-1, 0) or True)
tried(lambda: fcntl.fcntl(1, fcntl.F_SETOWN, PARENT) == 0)
tried(lambda: fcntl.ioctl(1, 0x8901, PARENT.to_bytes(4, 'little')))
""",
    "subprocess": """
import multiprocessing, subprocess
tried(lambda: subprocess.run(['true']))
tried(lambda: os.popen('true').read() == '')
tried(lambda: os.system('true') == 0)
tried(lambda: os.posix_spawn('/bin/true', ['true'], {}))
tried(lambda: multiprocessing.get_context('fork').Process(target=print).start() or True)
""",
    "exec": """
tried(lambda: os.execv('/bin/sh', ['sh', '-c', 'echo ESCAPED']))
tried(lambda: os.execv(sys.executable, ['python', '-c', 'print("ESCAPED")']))
""",
    "syscalls by hand": """
import ctypes
libc = ctypes.CDLL(None)
tried(lambda: libc.fork() >= 0)
tried(lambda: libc.socket(2, 1, 0) >= 0)
tried(lambda: libc.system(b'true') == 0)
for number in (41, 53, 56, 57, 58, 220, 198, 1079):
    tried(lambda: raw(number, 17, 0, 0, 0, 0) and os.getpid())
tried(lambda: raw(425, 8, ctypes.create_string_buffer(120)))
tried(lambda: raw(321, 0, ctypes.create_string_buffer(120), 120))
tried(lambda: raw(323, 0))
tried(lambda: raw(298, ctypes.create_string_buffer(120), 0, -1, -1, 0))
""",
    "syscalls of 32 bits": """
import ctypes, mmap
if os.uname().machine == 'x86_64':
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex('b814000000cd80c3'))
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
    print('ESCAPED')
""",
    "syscalls of the x32 table": """
if os.uname().machine == 'x86_64':
    raw(0x40000000 + 39)
    print('ESCAPED')
""",
    "memory of the parent": """
import ctypes
for pid in (PARENT, os.getppid(), 'self', 1):
    for name in ('mem', 'maps', 'environ', 'cmdline', 'status', 'fd', 'cwd/x'):
        tried(lambda: open(f'/proc/{pid}/{name}', 'rb').read(1))
        tried(lambda: os.listdir(f'/proc/{pid}/{name}'))
buffer = ctypes.create_string_buffer(8)
vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
tried(lambda: raw(310, PARENT, vector, 1, vector, 1, 0))
tried(lambda: raw(438, PARENT, HELD, 0))
""",
    "ptrace": """
import ctypes
for request in (0, 16, 0x4206):
    tried(lambda: raw(101, request, PARENT, 0, 0))
    tried(lambda: ctypes.CDLL(None).ptrace(request, PARENT, 0, 0) >= 0)
""",
    "environment": """
tried(lambda: [v for v in os.environ.values() if 'secret' in v.lower()] or False)
tried(lambda: 'PATH' in os.environ)
tried(lambda: [v for v in sys.argv + sys.orig_argv if 'secret' in v.lower()] or False)
""",
    "descriptors": """
for held in range(3, 4096):
    tried(lambda: os.fstat(held))
tried(lambda: os.read(HELD, 9))
tried(lambda: os.read(0, 9) or False)
""",
    "import from the folder": """
tried(lambda: __import__('program'))
tried(lambda: __import__('planted'))
tried(lambda: __import__('gradus'))
tried(lambda: sys.path.insert(0, FOLDER) or __import__('planted'))
tried(lambda: [place for place in sys.path[1:] if place in ('', '.', os.getcwd())] or False)
""",
    "ignore every signal": """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True:
    try:
        while True: pass
    except BaseException: pass
""",
    "timers against the clock": """
import signal
def again(*_): signal.setitimer(signal.ITIMER_REAL, 0.001)
signal.signal(signal.SIGALRM, again)
again()
while True:
    try: raise SystemExit
    except BaseException: continue
""",
    "daemon": """
tried(lambda: os.setsid() or True)
tried(lambda: os.setpgid(0, 0) or True)
tried(lambda: os.fork() or os.fork() or True)
os.close(1); os.close(2)
while True: pass
""",
    "linger at the end": """
import atexit
class Stubborn:
    def write(self, text): return len(text)
    def flush(self):
        while True: pass
    def __del__(self):
        while True: pass
atexit.register(Stubborn().flush)
sys.stdout = Stubborn()
""",
    "larger limits": """
import resource
for name in [n for n in dir(resource) if n.startswith('RLIMIT')]:
    number = getattr(resource, name)
    tried(lambda: resource.setrlimit(number, (2**30, 2**30)) or True)
    tried(lambda: resource.prlimit(PARENT, number))
tried(lambda: os.nice(-5))
tried(lambda: os.sched_setaffinity(PARENT, {0}) or True)
""",
    "privileges": """
tried(lambda: os.setuid(1) or True)
tried(lambda: os.setgroups([]) or True)
for number in (272, 165, 166, 161, 155, 126, 157, 175, 246, 169, 308, 304, 317, 250, 248):
    tried(lambda: raw(number, 0, 0, 0, 0, 0))
""",
    "terminal": """
import fcntl
tried(lambda: open('/dev/tty'))
for held in (0, 1, 2):
    tried(lambda: fcntl.ioctl(held, 0x5412, b'x'))
""",
    "a hard pattern": """
import re
re.match('(a+)+$', 'a' * 60 + 'b')
""",
    "endless number": "print(len(str(9 ** 9 ** 9)))",
    "deep recursion": """
sys.setrecursionlimit(10**9)
def deeper(): return deeper()
deeper()
""",
}


class Attempt(NamedTuple):
    """What an escape came to.

    Attributes:
        outcome: how the program ended.
        leaks: what it got, reached or left behind; empty where it was held.
    """

    outcome: Outcome
    leaks: tuple[str, ...]


class Surroundings:
    """What a program might touch: a folder with a secret, listeners, a variable, an open file, a handler of signals.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder / "outside", folder / "inside"
        self.folder.mkdir()
        self.home.mkdir()
        self.secret = self.folder / "secret.txt"
        self.secret.write_text(SECRET)
        (self.folder / "planted.py").write_text("")
        self.seen = self._state()
        self.signals = 0
        self.listeners = [socket.socket(), socket.socket(type=socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)]
        places: tuple[Any, ...] = (("127.0.0.1", 0), ("127.0.0.1", 0), str(folder / "s"))
        for listener, place in zip(self.listeners, places, strict=True):
            listener.bind(place)
            listener.setblocking(False)
            if listener.type == socket.SOCK_STREAM:
                listener.listen()
        self.held = os.open(self.secret, os.O_RDONLY)
        os.set_inheritable(self.held, True)

    def _state(self) -> list[tuple[Any, ...]]:
        return [(p.name, p.stat().st_mtime_ns, p.stat().st_mode, p.read_text()) for p in sorted(self.folder.iterdir())]

    def facts(self) -> dict[str, Any]:
        """Return what the programs are told of them."""
        tcp, udp, unix = (listener.getsockname() for listener in self.listeners)
        return {"secret": str(self.secret), "folder": str(self.folder), "tcp": tcp[1], "udp": udp[1], "unix": unix,
                "parent": os.getpid(), "held": self.held}  # fmt: skip

    def leaks(self, outcome: Outcome) -> Iterator[str]:
        """Give what a program got, reached or left."""
        if "ESCAPED" in outcome.output + outcome.error:
            yield "it says that it escaped"
        if SECRET in outcome.output + outcome.error:
            yield "it has the secret"
        if self._state() != self.seen:
            yield "it changed a file"
        if self.signals:
            yield "it sent a signal"
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                listener.accept() if listener.type == socket.SOCK_STREAM else listener.recv(9)
                yield "it reached a listener"
        if any(self.home.iterdir()):
            yield "its folder is left"
        yield from (f"process {pid} is left" for pid in self._left())

    def _left(self) -> list[str]:
        mark, found = os.fsencode(self.home), []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in entry.read_bytes():
                    found.append(entry.parent.name)
        return found

    def close(self) -> None:
        """Close what was opened."""
        for listener in self.listeners:
            listener.close()
        os.close(self.held)


@contextlib.contextmanager
def _surroundings() -> Iterator[Surroundings]:
    """Set the scene, with a secret in the environment and a handler of signals, and clear it away."""
    kept, mine = tempfile.tempdir, threading.current_thread() is threading.main_thread()
    with tempfile.TemporaryDirectory(prefix="gradus-escapes-") as folder:
        around = Surroundings(Path(folder))

        def count(*_: Any) -> None:
            around.signals += 1

        handler = signal.signal(signal.SIGURG, count) if mine else None
        os.environ["GRADUS_TEST_SECRET"] = SECRET
        tempfile.tempdir = str(around.home)
        try:
            yield around
        finally:
            tempfile.tempdir = kept
            del os.environ["GRADUS_TEST_SECRET"]
            if mine:
                signal.signal(signal.SIGURG, handler)
            around.close()


def try_escapes(names: tuple[str, ...] = tuple(ESCAPES), *, limits: Limits = LIMITS) -> dict[str, Attempt]:
    """Return what each escape came to.

    Args:
        names: which ones.
        limits: for each program.

    Raises:
        GradusError: if this machine cannot confine a program.
    """
    assert sys.platform == "linux", "what is tried is meant for Linux"
    found = {}
    for name in names:
        with _surroundings() as around:
            outcome = run_program(BEGIN.format(**around.facts()) + ESCAPES[name], limits)
            found[name] = Attempt(outcome, tuple(around.leaks(outcome)))
    return found
