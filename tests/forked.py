"""The program in a child process: what it says, and bounds on its time and memory."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from program import call

SECONDS, MEBIBYTES = 30, 600
KILLED = -signal.SIGALRM


class Said(NamedTuple):
    """How a child ended: its exit code (negative for a signal), what it printed, and what it took."""

    code: int
    out: str
    err: str
    seconds: float
    mebibytes: float

    def check(self, what=""):
        """As it should be: done, or refused in one line; within bounds; nothing that steers a terminal."""
        told = f"{what}: exit {self.code} after {self.seconds:.1f} s and {self.mebibytes:.0f} MiB\n{self.err}"
        assert self.code in (0, 1, 2), told  # 1: diagnose found something
        assert self.mebibytes < MEBIBYTES, told
        assert "Traceback" not in self.err, told
        assert not [c for c in self.out + self.err if (ord(c) < 32 and c != "\n") or 126 < ord(c) < 160], told
        if self.code == 2:
            last = self.err.splitlines()[-1] if self.err else ""
            assert last.startswith("alphabar: "), told
            assert "out of memory" not in last, told
            assert len(last) < 1500, told


def forked(*arguments, seconds=SECONDS, mebibytes=MEBIBYTES):
    """The program called in a fork of this process, so that it need not be read again."""
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        begin = time.monotonic()
        child = os.fork()
        if not child:
            _be_the_child(out, err, arguments, seconds, mebibytes)
        _, status, usage = os.wait4(child, 0)
        took = time.monotonic() - begin
        grown = usage.ru_maxrss / 1024 - _resident()
        said, told = (path.read_text(encoding="utf-8") if path.exists() else "" for path in (out, err))
    return Said(os.waitstatus_to_exitcode(status), said, told, took, grown)


def _be_the_child(out, err, arguments, seconds, mebibytes):
    code = 70
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 4 * mebibytes * 2**20, resource.RLIM_INFINITY))
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        try:
            code = call(*arguments)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(int(code))


def _resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20
