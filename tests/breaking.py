"""Commands in forks of this process that break, or pause, at a chosen call that changes files.

What is counted: whatever makes, opens to write, renames, links, removes or truncates something below the
folder that the command works in, by whichever library; each write to a file that Python opened, in the
middle of it; each flush. What a kill would leave at a call is what lies there then: a copy of it.

What takes time and writes nothing is made short: charts are one white dot, features are learned on few
samples, and fitted plans follow runs of few evaluations.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import functools
import importlib
import io
import os
import shutil
import signal
import sys
import time
import traceback
from multiprocessing import Pipe
from pathlib import Path

from PIL import Image

from program import call

EVENTS = {
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
}  # fmt: skip
NEEDS_ROOM = {"open", "write", "fsync", "os.mkdir", "os.link", "os.symlink"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
PATIENCE_S = 60
LOCKS = Path("/proc/locks")


class Breaker:
    """Counts the calls, and breaks at one of them.

    Args:
        place: the folder below which calls count.
        at: which, from 1; 0 for none.
        how: "kill"; "EIO", once; "ENOSPC", from then on whatever needs room; "pause", until told to go on;
            "copies", of the folder at every call, into `states_of(place)`.
        conn: to the process that told it to; it is told of a pause.
    """

    def __init__(self, place, at, how, conn):
        self.place, self.at, self.how, self.conn = os.path.realpath(place), at, how, conn
        self.calls = []

    def __call__(self, event, path):
        """Whether the call is to break; a kill or a pause happens here."""
        path = os.fspath(path)
        path = path.decode() if isinstance(path, bytes) else path
        if not os.path.abspath(path).startswith(self.place + os.sep):
            return
        self.calls.append((event, os.path.relpath(path, self.place)))
        n = len(self.calls)
        if self.how == "copies":
            copied(Path(self.place), states_of(Path(self.place)) / str(n))
        if self.how == "ENOSPC" and 0 < self.at <= n and event in NEEDS_ROOM:
            raise self.error(errno.ENOSPC, event, path)
        if n != self.at:
            return
        if self.how == "EIO":
            raise self.error(errno.EIO, event, path)
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "pause":
            self.conn.send("paused")
            self.conn.recv()

    def error(self, number, event, path):
        """As the system raises it: without a name where only a handle is known."""
        named = () if event in ("write", "fsync") else (path,)
        return OSError(number, os.strerror(number), *named)

    def install(self):
        """From here on every call counts."""
        sys.addaudithook(self.audit)
        flush, breaker = os.fsync, self

        def fsync(handle):
            number = handle if isinstance(handle, int) else handle.fileno()
            self("fsync", os.readlink(f"/proc/self/fd/{number}"))
            flush(handle)

        class File(io.FileIO):
            def write(self, content):
                content = memoryview(content).cast("B")
                half = super().write(content[: len(content) // 2])
                breaker("write", self.name)
                return half + super().write(content[half:])

        def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest, **more):
            if isinstance(file, int) or rest or more or not set(mode) & set("wxa+"):
                return original(file, mode, buffering, encoding, errors, newline, *rest, **more)
            raw = File(file, mode.replace("b", "").replace("t", ""))
            if "b" in mode and buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        original = builtins.open
        os.fsync, builtins.open, io.open = fsync, opened, opened

    def audit(self, event, arguments):
        if event in EVENTS:
            path = arguments[1] if event in ("os.rename", "os.link", "os.symlink") else arguments[0]
            if not isinstance(path, int):
                self(event, path)
        elif event == "open":
            path, mode, flags = arguments
            writes = set(mode) & set("wxa+") if mode else flags & WRITING
            if writes and not isinstance(path, int):
                self(event, path)


READ = (
    "torch._dynamo", "alphabar.runs.run", "alphabar.runs.report", "alphabar.data.preparing.cache",
    "safetensors.torch",
    "alphabar.evaluation.features.learned", "alphabar.sampling.bench", "alphabar.sampling.output",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "jinja2", "rich.progress",
)  # fmt: skip


@functools.cache
def read_all():
    """Read and build once what each fork would."""
    import torch

    from alphabar.cli import app

    for name in (*READ, *(f"alphabar.cli.{e.target.partition(':')[0]}" for e in app.COMMANDS.values())):
        importlib.import_module(name)
    torch.set_num_threads(1)
    Image.init()
    return {name: app.command(name) for name in app.COMMANDS}


def hasten(built):
    """Make short what takes time and writes nothing."""
    from matplotlib.figure import Figure

    from alphabar.cli import app
    from alphabar.evaluation.features import learned
    from alphabar.sampling import bench

    def dot(self, file, format, **_):
        if format == "png":
            Image.new("L", (1, 1), 255).save(file, "PNG")
        else:
            file.write(b'<svg viewBox="0 0 1 1"><g/></svg>')

    app.command, Figure.savefig, bench.LONG = built.__getitem__, dot, 4
    learned.learned_features.__defaults__ = (40, *learned.learned_features.__defaults__[1:])


def body(arguments, place, conn, at, how, output):
    """In the fork: the command, in the folder `place`/here with the cache beside it."""
    code = 70
    try:
        os.chdir(place / "here")
        os.environ["ALPHABAR_CACHE"] = str(place / "cache")
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1), os.dup2(handle, 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        breaker = Breaker(place, at, how, conn)
        try:
            hasten(read_all())
            breaker.install()
            code = call(*arguments)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        conn.send(breaker.calls)
    finally:
        os._exit(int(code))


def copied(start, place):
    """`place` anew, as `start` is; nothing ever writes into the pictures, which are linked."""

    def copy(a, b):
        copied = os.link if a.endswith(".png") and Path(a).parent.name in ("pets", "fresh") else shutil.copy2
        gone = a.endswith((".lock", ".tmp"))  # a lock that ended meanwhile, or what another thread renamed
        with contextlib.suppress(*[FileNotFoundError] * gone):
            copied(a, b)

    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(start, place, copy_function=copy)
    return place


def states_of(place):
    """The folder of what lay in `place` at each call."""
    return place.with_name(f"{place.name}-states")


class Command:
    """A command that runs in a process of its own, and perhaps breaks there."""

    def __init__(self, arguments, place, at=0, how="kill", output="output"):
        read_all()
        self.conn, theirs = Pipe()
        self.output = place.parent / f"{place.name}-{output}"
        self.arguments, self.calls, self.is_paused = arguments, [], False
        self.child = os.fork()
        if not self.child:
            body(arguments, place, theirs, at, how, self.output)
        theirs.close()

    def heard(self, patience_s=PATIENCE_S):
        """Wait for it to pause or to end; False if it does neither."""
        if not self.conn.poll(patience_s):
            return False
        try:
            message = self.conn.recv()
        except EOFError:  # killed
            message = []
        self.is_paused = message == "paused"
        if not self.is_paused:
            self.calls = message
        return True

    def waits(self, patience_s):
        """Let it run until it has ended, or waits for a lock, or for so long."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until and not self.conn.poll(0.02):
            if any(["->", str(self.child)] == line.split()[1:6:4] for line in LOCKS.read_text().splitlines()):
                return

    def go_on(self):
        self.conn.send("go on")
        self.is_paused = False

    def end(self):
        """(exit code, what it printed)."""
        heard = self.calls or self.heard()
        if not heard:
            os.kill(self.child, signal.SIGKILL)
        _, status = os.waitpid(self.child, 0)
        self.conn.close()
        assert heard, f"{self.arguments} has not ended within {PATIENCE_S} s"
        return os.waitstatus_to_exitcode(status), self.output.read_text(errors="replace")


def run(arguments, place, at=0, how="kill"):
    """(exit code, what it printed, the calls) of a command."""
    command = Command(arguments, place, at, how)
    code, printed = command.end()
    return code, printed, command.calls
