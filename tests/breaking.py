"""Commands in processes of their own that break, or pause, at a chosen call that changes files.

What is counted: whatever makes, opens to write, renames, links, removes or truncates something below the
folder that the command works in, by whichever library; each write to a file that Python opened; each flush.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys

from victim import CONTEXT

EVENTS = {
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
}  # fmt: skip
NEEDS_ROOM = {"open", "write", "fsync", "os.mkdir", "os.link", "os.symlink"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
PATIENCE_S = 60


class Breaker:
    """Counts the calls, and breaks at one of them.

    Args:
        place: the folder below which calls count.
        at: which, from 1; 0 for none.
        how: "kill"; "EIO", once; "ENOSPC", from then on whatever needs room; "pause", until told to go on.
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
                half = len(memoryview(content).cast("B")) // 2
                try:
                    breaker("write", self.name)
                except OSError:
                    super().write(memoryview(content).cast("B")[:half])
                    raise
                return super().write(content)

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


def body(arguments, place, conn, at, how, output):
    """In the new process: the command, in the folder `place`/here with the cache beside it."""
    import torch

    import alphabar.data.cache  # noqa: F401
    from alphabar.evaluation.features import learned
    from program import call

    torch.set_num_threads(1)
    os.chdir(os.path.join(place, "here"))
    os.environ["ALPHABAR_CACHE"] = os.path.join(place, "cache")
    learned.learned_features.__defaults__ = (400, *learned.learned_features.__defaults__[1:])
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1), os.dup2(handle, 2)
    breaker = Breaker(place, at, how, conn)
    breaker.install()
    code = 70
    try:
        code = call(*arguments)
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        if code == 70:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        conn.send(breaker.calls)
        os._exit(code)


class Command:
    """A command that runs in a process of its own, and perhaps breaks there."""

    def __init__(self, arguments, place, at=0, how="kill", output="output"):
        self.conn, theirs = CONTEXT.Pipe()
        self.output = place.parent / f"{place.name}-{output}"
        self.arguments, self.calls, self.is_paused = arguments, [], False
        self.process = CONTEXT.Process(
            target=body, args=(arguments, place, theirs, at, how, str(self.output))
        )
        self.process.start()
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

    def go_on(self):
        self.conn.send("go on")
        self.is_paused = False

    def end(self):
        """(exit code, what it printed)."""
        if not self.calls and not self.heard():
            self.process.kill()
            raise AssertionError(f"{self.arguments} has not ended within {PATIENCE_S} s")
        self.process.join()
        return self.process.exitcode, self.output.read_text(errors="replace")


def run(arguments, place, at=0, how="kill"):
    """(exit code, what it printed, the calls) of a command."""
    command = Command(arguments, place, at, how)
    code, printed = command.end()
    return code, printed, command.calls
