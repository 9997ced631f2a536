"""Work that is shared among processes which are forked from this one."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from .torchrun import cores, end_with_parent


def processes_for(n: int) -> int:
    """How many processes share n pieces of work: as many as there are cores, where one can be forked."""
    return min(cores(), n) if "fork" in multiprocessing.get_all_start_methods() else 1


def over_processes(work: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """What work makes of each item, in order, by processes that are forked from this one.

    What is done in them must not use torch. ValueError if one of them is ended from outside.
    """
    before = set(multiprocessing.active_children())
    sys.stdout.flush()  # or what waits there would be written by each process
    sys.stderr.flush()
    context = multiprocessing.get_context("fork")  # what work has at hand can't be pickled
    with ProcessPoolExecutor(processes_for(len(items)), context, _begin, (work,)) as pool:
        try:
            with warnings.catch_warnings():  # of threads, which have no part in this
                warnings.simplefilter("ignore", DeprecationWarning)
                futures = [pool.submit(_do, item) for item in items]
            yield from (future.result() for future in futures)
        except BrokenProcessPool:
            raise ValueError(
                "a process that prepares data was ended from outside, such as for want of memory; the same "
                "command goes on with what is left"
            ) from None
        except BaseException:
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


_work: Callable[[Any], Any]


def _begin(work: Callable[[Any], Any]) -> None:
    """In each process: Ctrl-C is for the one that began it, which ends it."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()


def _do(item: Any) -> Any:
    return _work(item)
