"""torchrun, which begins several processes of one command: what it tells each of them, and calling it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable, Sequence

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
STOPS = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
"""Signals on which training saves and ends: Ctrl-C, kill, a closed terminal, a cluster's warning."""
PR_SET_PDEATHSIG = 1
TOLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that torchrun, or whatever stands in for it, sets."""


def are_several() -> bool:
    """Whether this process was begun as one of several."""
    return all(os.environ.get(name) for name in TOLD) and int(os.environ["WORLD_SIZE"]) > 1


def rank() -> int:
    """This process's number among them; 0 if it is alone."""
    return int(os.environ["RANK"]) if are_several() else 0


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """Let this process save and end when the one that began it is gone, as far as the system can do so."""
    with contextlib.suppress(OSError, AttributeError, ImportError):  # no Linux
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def launch(processes: int, words: Sequence[str], say: Callable[[str], None]) -> int:
    """Run `alphabar WORDS` in so many processes of this machine, as torchrun does; the exit code.

    What ends one of them from outside is said. The threads of the CPU are shared among them, unless
    OMP_NUM_THREADS says how many each has.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", ",".join(stop.name for stop in STOPS))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    logs = tempfile.mkdtemp(prefix="alphabar-")  # which torch makes and leaves otherwise
    config = LaunchConfig(
        logs_specs=DefaultLogsSpecs(log_dir=logs),
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the first process says it all
    try:
        elastic_launch(config, sys.executable)("-m", "alphabar", *words)
    except ChildFailedError as error:
        number, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        say(f"process {number} of {processes} ended by signal {-failure.exitcode}; the same command goes on")
        return 128 - failure.exitcode
    except SignalException as stop:
        return 128 + int(stop.sigval)
    finally:
        shutil.rmtree(logs, ignore_errors=True)
    return 0
