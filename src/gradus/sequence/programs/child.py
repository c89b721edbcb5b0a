"""What runs inside the sandbox: builds the walls around its own process, then runs the program. Never imported.

    limits → dies with its parent → a network of its own → no capabilities → Landlock → seccomp → the program

The parent starts this file with the standard library alone, tells on standard input what to confine, and reads on a
pipe which walls stand. Every wall is a promise of the kernel's that cannot be taken back; the program comes after the
last one. No syscall outside a short list is answered; of those that are, `openat` only opens for reading, `tgkill`
only reaches this process, `fcntl` names no owner of signals, `prlimit64` only reads this process's own limits. Landlock
lets files be read under the standard library, the permitted packages and the shared libraries, and nothing be written.

References:
    Drewry 2012, Dynamic seccomp policies (using BPF filters).
    Salaün 2021, Landlock: unprivileged access control.
"""

import ast
import ctypes
import errno
import importlib.machinery
import importlib.util
import json
import os
import resource
import signal
import struct
import sys
import traceback
import types

__all__: list[str] = []

PROGRAM = "program.py"
OUT_OF_MEMORY = 77
MIB = 1 << 20

# Numbers of the syscalls that computing, importing, sleeping and printing need, by machine.
PLAIN = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
        "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "readv": 19,
        "writev": 20, "access": 21, "select": 23, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32, "dup2": 33,
        "nanosleep": 35, "getitimer": 36, "alarm": 37, "setitimer": 38, "getpid": 39, "exit": 60, "uname": 63,
        "getcwd": 79, "readlink": 89, "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100,
        "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110, "sigaltstack": 131,
        "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204, "getdents64": 217, "set_tid_address": 218,
        "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
        "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "pselect6": 270, "ppoll": 271, "set_robust_list": 273,
        "dup3": 292, "getrandom": 318, "membarrier": 324, "statx": 332, "rseq": 334, "faccessat2": 439,
    },
    "aarch64": {
        "getcwd": 17, "dup": 23, "dup3": 24, "faccessat": 48, "close": 57, "getdents64": 61, "lseek": 62, "read": 63,
        "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pselect6": 72, "ppoll": 73, "readlinkat": 78,
        "newfstatat": 79, "fstat": 80, "exit": 93, "exit_group": 94, "set_tid_address": 96, "futex": 98,
        "set_robust_list": 99, "nanosleep": 101, "getitimer": 102, "setitimer": 103, "clock_gettime": 113,
        "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
        "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
        "times": 153, "uname": 160, "getrlimit": 163, "getrusage": 165, "gettimeofday": 169, "getpid": 172,
        "getppid": 173, "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178, "sysinfo": 179,
        "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278,
        "membarrier": 283, "statx": 291, "rseq": 293, "faccessat2": 439,
    },
}  # fmt: skip
# Those whose arguments decide: ioctl, fcntl, tgkill, openat, prlimit64; and the machine's number for the filter.
GUARDED = {"x86_64": (16, 72, 234, 257, 302, 0xC000003E), "aarch64": (29, 25, 131, 56, 261, 0xC00000B7)}
CLONE3 = 435  # answered as unknown, so that the C library asks for `clone`, which is refused
IOCTLS = (0x5401, 0x5413, 0x5421, 0x5450, 0x5451)  # is it a terminal, how wide; (not) blocking; (not) closed on exec
FCNTLS = (0, 1, 2, 3, 1030)  # duplicate a descriptor, read and set its flags; no owner, no locks, no seals

LOAD, EQUAL, ANY_BIT, AT_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000

READ_FILE, READ_DIR = 1 << 2, 1 << 3
LANDLOCK_RIGHTS = (0, 13, 14, 15, 15, 16)  # how many rights of files each version knows
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/dev/urandom",
          "/usr/share/zoneinfo")  # fmt: skip


def limit(limits: dict[str, int]) -> None:
    """Bound memory, time on the processor, open files, files written, processes and core dumps."""
    bounds = {
        "RLIMIT_AS": limits["memory"] * MIB, "RLIMIT_DATA": limits["memory"] * MIB, "RLIMIT_NOFILE": limits["files"],
        "RLIMIT_FSIZE": 0, "RLIMIT_NPROC": 0, "RLIMIT_CORE": 0, "RLIMIT_MEMLOCK": 0, "RLIMIT_MSGQUEUE": 0,
    }  # fmt: skip
    for name, bound in bounds.items():
        if hasattr(resource, name):
            resource.setrlimit(getattr(resource, name), (bound, bound))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu"], limits["cpu"] + 1))


class Kernel:
    """Calls of the kernel that Python has no name for."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.machine = os.uname().machine if sys.platform == "linux" else ""

    def call(self, number: int, *arguments: object) -> int:
        """Make a syscall; raises OSError."""
        given = [a if not isinstance(a, int) else ctypes.c_long(a) for a in arguments]
        return self._checked(self.libc.syscall(ctypes.c_long(number), *given))

    def prctl(self, *arguments: int) -> int:
        """Change this process; raises OSError."""
        padded = (*arguments, 0, 0, 0, 0)[:5]
        return self._checked(self.libc.prctl(*(ctypes.c_ulong(a) for a in padded)))

    def unshare(self, flags: int) -> int:
        """Leave what is shared with others; raises OSError."""
        return self._checked(self.libc.unshare(ctypes.c_int(flags)))

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result


def orphan_dies(kernel: Kernel, parent: int) -> None:
    """Have the kernel kill this process when its parent ends; one that has ended already is too late."""
    kernel.prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def drop_capabilities(kernel: Kernel) -> None:
    """Give up every privilege, those of the superuser included, and the right to gain new ones."""
    kernel.prctl(38, 1)
    header, none = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    number = {"x86_64": 126, "aarch64": 91}[kernel.machine]
    kernel.call(number, ctypes.c_char_p(header), ctypes.c_char_p(none))


def leave_network(kernel: Kernel) -> None:
    """Move into a network, an inter-process memory and a host name of one's own, all empty."""
    alone = 0x40000000 | 0x08000000
    try:
        kernel.unshare(alone)
    except PermissionError:
        kernel.unshare(alone | 0x10000000)


def landlock(kernel: Kernel, readable: list[str]) -> None:
    """Let files be read beneath some paths, and nothing else be done with files, networks or other processes."""
    version = kernel.call(444, None, 0, 1)
    rights = (1 << LANDLOCK_RIGHTS[min(version, len(LANDLOCK_RIGHTS) - 1)]) - 1
    handled = struct.pack("=Q", rights)
    if version >= 4:
        handled += struct.pack("=Q", 3)
    if version >= 6:
        handled += struct.pack("=Q", 3)
    rules = kernel.call(444, ctypes.c_char_p(handled), len(handled), 0)
    for path in readable:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # what is not there need not be read
        allowed = READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE
        kernel.call(445, rules, 1, ctypes.c_char_p(struct.pack("=Qi", allowed, place)), 0)
        os.close(place)
    kernel.call(446, rules, 0)
    os.close(rules)


def seccomp(kernel: Kernel) -> None:
    """Answer only the syscalls of the list, and those with arguments that matter only as they should be used."""
    instructions = syscall_filter(kernel.machine, os.getpid())
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    held = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(instructions), ctypes.addressof(held))
    kernel._checked(kernel.libc.prctl(22, ctypes.c_ulong(2), ctypes.c_char_p(program), 0, 0))


def syscall_filter(machine: str, pid: int) -> list[tuple[int, int, int, int]]:
    """Return the filter as instructions (operation, steps if true, steps if false, constant)."""
    ioctl, fcntl, tgkill, openat, prlimit, audited = GUARDED[machine]
    refuse, allow = (RETURN, 0, 0, ERRNO | errno.EPERM), (RETURN, 0, 0, ALLOW)
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | (os.O_TMPFILE & ~os.O_DIRECTORY)

    def argument(place: int, high: bool = False) -> tuple[int, int, int, int]:
        return LOAD, 0, 0, 16 + 8 * place + 4 * high

    def one_of(number: int, place: int, choices: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
        checks = [(EQUAL, len(choices) - i, 0, choice) for i, choice in enumerate(choices)]
        return [(EQUAL, 0, len(choices) + 3, number), argument(place), *checks, refuse, allow]

    lines = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, audited), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    lines += [(AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, KILL)]  # the other way of calling on x86
    lines += [(EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, ERRNO | errno.ENOSYS)]
    for number in PLAIN[machine].values():
        lines += [(EQUAL, 0, 1, number), allow]
    lines += one_of(ioctl, 1, IOCTLS) + one_of(fcntl, 1, FCNTLS) + one_of(tgkill, 0, (pid,))
    lines += [(EQUAL, 0, 4, openat), argument(2), (ANY_BIT, 0, 1, writing), refuse, allow]
    lines += [(EQUAL, 0, 8, prlimit), argument(0), (EQUAL, 0, 5, 0), argument(2), (EQUAL, 0, 3, 0), argument(2, True)]
    lines += [(EQUAL, 0, 1, 0), allow, refuse]
    return [*lines, refuse]


def hook(readable: list[str]) -> None:
    """Refuse events of the interpreter; a program that knows the interpreter gets around it, so it is no wall."""
    refused = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.kill",
               "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "shutil.",
               "ctypes.", "pty.", "_thread.start_new_thread")  # fmt: skip

    def guard(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(refused):
            raise PermissionError(errno.EPERM, f"{event} is not permitted here")
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            mode, flags = arguments[1], arguments[2]
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes or (isinstance(mode, str) and set(mode) & set("wax+")) or not path.startswith(tuple(readable)):
                raise PermissionError(errno.EPERM, "this file is not open here", path)

    sys.addaudithook(guard)


class Packages:
    """Finds the permitted packages where they are, and nothing beside them.

    Args:
        folders: of each package, by name.
    """

    def __init__(self, folders: dict[str, str]) -> None:
        self.folders = folders

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Return where a permitted package begins; its parts are found beneath it as usual."""
        folder = self.folders.get(name)
        if folder is None:
            return None
        return importlib.util.spec_from_file_location(
            name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )


class ProgramLoader(importlib.machinery.SourceFileLoader):
    """Runs a program as a notebook would: the value of a last line that is an expression is printed."""

    def source_to_code(self, data, path, *, _optimization=-1):  # type: ignore[no-untyped-def, override]
        """Return the program with its last value shown; of one that prints nothing, the last variable."""
        tree = ast.parse(data, PROGRAM)
        last = tree.body[-1] if tree.body else None
        prints = any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(tree))
        if isinstance(last, ast.Expr):
            last.value = self._shown(last.value, last)
        elif isinstance(last, ast.Assign) and isinstance(last.targets[0], ast.Name) and not prints:
            shown = self._shown(ast.copy_location(ast.Name(last.targets[0].id, ast.Load()), last), last)
            tree.body.append(ast.copy_location(ast.Expr(shown), last))
        return super().source_to_code(ast.fix_missing_locations(tree), PROGRAM)

    @staticmethod
    def _shown(value: ast.expr, place: ast.AST) -> ast.expr:
        name = ast.copy_location(ast.Name("__show__", ast.Load()), place)
        return ast.copy_location(ast.Call(name, [value], []), place)


def show(value: object) -> None:
    """Print a value, unless there is none."""
    if value is not None:
        print(value)


def build(asked: dict) -> dict:
    """Build every wall that can be built; return which stand, and why the others do not."""
    limit(asked["limits"])
    readable = [*{os.path.dirname(os.__file__), *sys.path}, *asked["readable"]]
    libraries = os.path.join(sys.base_prefix, "lib")
    if os.path.isdir(libraries):
        readable += [file.path for file in os.scandir(libraries) if ".so" in file.name]
    standing, fallen = ["limits"], {}
    if sys.platform == "linux":
        kernel = Kernel()
        steps = {
            "dies with parent": lambda: orphan_dies(kernel, asked["parent"]),
            "own network": lambda: leave_network(kernel), "no capabilities": lambda: drop_capabilities(kernel),
            "landlock": lambda: landlock(kernel, [*readable, *SYSTEM]), "seccomp": lambda: seccomp(kernel),
        }  # fmt: skip
        for name, step in steps.items():
            if name in asked["without"]:
                fallen[name] = "left out"
                continue
            try:
                step()
                standing.append(name)
            except (OSError, KeyError) as error:
                fallen[name] = str(error)
    if not {"landlock", "seccomp"} <= set(standing) and "hooks" not in asked["without"]:
        hook([*readable, *SYSTEM])
        standing.append("hooks")
    return {"standing": standing, "fallen": fallen}


def main() -> None:
    """Build the walls, tell of them, and run the program; leave without cleaning up what the program left behind."""
    asked, report = json.load(sys.stdin), int(sys.argv[1])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.closerange(3, report)
    os.closerange(report + 1, 4096)
    path = os.path.join(os.getcwd(), PROGRAM)
    main_module = types.ModuleType("__main__")
    main_module.__dict__.update(__show__=show, __file__=path)
    sys.argv = [path]
    sys.meta_path.append(Packages(asked["packages"]))  # type: ignore[arg-type]
    code = 1
    walls = build(asked)
    os.write(report, json.dumps(walls).encode())
    os.close(report)
    if not asked["trust"] and not {"landlock", "seccomp"} <= set(walls["standing"]):
        os._exit(1)
    sys.modules["__main__"] = main_module
    try:
        ProgramLoader("__main__", path).exec_module(main_module)
        code = 0
    except SystemExit as stop:
        code = 0 if stop.code in (None, 0) else 1
    except MemoryError:
        code = OUT_OF_MEMORY
    except BaseException as error:  # the program's own, whatever it is
        place = error.__traceback__
        while place is not None and place.tb_frame.f_code.co_filename != PROGRAM:
            place = place.tb_next
        text = "".join(traceback.format_exception(type(error), error, place, limit=-4))
        os.write(2, text.encode("utf-8", "replace")[-4096:])
    try:
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
