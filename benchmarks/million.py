"""Pictures by the million, in tars: time, memory and disk to prepare them, killed twice, and to train.

    python benchmarks/million.py FOLDER --pictures 1000000

Writes small JPEGs with a class each into tars of 10,000 in FOLDER/tars, as WebDataset does; prepares them in
FOLDER/cache by `alphabar data`; again, killed (SIGKILL) when half of the headers and when half of the samples
are there; then trains on them for some seconds, compares the first updates of one process and of four, and
counts and trains again as a stream of a few files at a time.
Memory is the sum of what all processes of the command have to themselves (PSS), at its highest.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

EACH = 10_000
TINY = [
    "--network", "unet", "--set", "network.channels=32", "--batch", "64", "--set", "precision=float32",
    "--set", "threads=1", "--set", "channels_last=false",
]  # fmt: skip


def write_tars(folder: Path, n: int, side: int) -> None:
    """Blurred noise, each picture another, with one of ten classes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for first in range(0, n, EACH):
        path = folder / f"{first:09d}.tar"
        if path.exists():
            continue
        with tarfile.open(path.with_suffix(".part"), "w") as tar:
            for i in range(first, min(first + EACH, n)):
                small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
                file = io.BytesIO()
                small.resize((side, side), Image.Resampling.BILINEAR).save(file, "JPEG", quality=85)
                for ending, content in (("jpg", file.getvalue()), ("cls", b"%d" % (i % 10))):
                    entry = tarfile.TarInfo(f"{i:09d}.{ending}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        path.with_suffix(".part").rename(path)


class Watched:
    """A command with its peak memory, and what its cache had at most, to its end or until it is killed, when
    `is_time` says so.
    """

    def __init__(
        self, words: list[str], env: dict[str, str], is_time: Callable[[], bool] = lambda: False
    ) -> None:
        start, self.peak_mib, self.disk_mib, self.curve = time.time(), 0.0, 0.0, []
        process = subprocess.Popen(
            [sys.executable, "-m", "alphabar", *words], env=env, stdout=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.5):
                now = memory_mib(process.pid)
                self.peak_mib = max(self.peak_mib, now)
                self.disk_mib = max(self.disk_mib, size_mib(Path(env["ALPHABAR_CACHE"])))
                self.curve.append(round(now))
                if is_time():
                    os.kill(process.pid, signal.SIGKILL)
                    return

        thread = threading.Thread(target=watch)
        thread.start()
        self.out = process.communicate()[0]
        done.set()
        thread.join()
        self.seconds, self.rc = time.time() - start, process.returncode


def memory_mib(pid: int) -> float:
    """PSS of a process and all below it."""
    total = 0
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True).stdout
    parent = {int(a): int(b) for a, b in map(str.split, listed.splitlines())}
    family = {pid}
    for _ in range(4):
        family |= {child for child, above in parent.items() if above in family}
    for member in family:
        try:
            text = Path(f"/proc/{member}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total / 1024


def size_mib(folder: Path) -> float:
    found = 0
    for inside, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # it was given up meanwhile
                found += os.stat(os.path.join(inside, name)).st_size
    return found / 2**20


def say(what: str, **facts: object) -> None:
    print(json.dumps({"what": what, **facts}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60, help="of training")
    parser.add_argument("--stream", type=int, default=4, help="files at a time")
    args = parser.parse_args()
    tars, cache = args.folder / "tars", args.folder / "cache"
    start = time.time()
    write_tars(tars, args.pictures, args.side)
    say("wrote", seconds=round(time.time() - start, 1), mib=round(size_mib(tars)))
    env = {**os.environ, "ALPHABAR_CACHE": str(cache)}
    shutil.rmtree(cache, ignore_errors=True)
    prepare = ["data", str(tars), "--json"]
    whole = Watched(prepare, env)
    facts = json.loads(whole.out)
    say(
        "prepared at once", seconds=round(whole.seconds, 1), peak_mib=round(whole.peak_mib),
        each_bytes=round(whole.peak_mib * 2**20 / args.pictures), cache_mib=round(size_mib(cache)),
        rate=round(args.pictures / whole.seconds),
    )  # fmt: skip
    shards = len(list(cache.glob("*/images-*.raw")))
    again = Watched(prepare, env)
    say("opened again", seconds=round(again.seconds, 1), peak_mib=round(again.peak_mib))
    shutil.rmtree(cache)
    spent = 0.0
    for what in ("headers", "images"):

        def kept(what: str = what) -> int:
            return len(list(cache.glob(f".*.partial/parts/{what}-*.json")))

        killed = Watched(prepare, env, lambda kept=kept: kept() >= shards / 2)
        spent += killed.seconds
        say(f"killed at {what}", rc=killed.rc, seconds=round(killed.seconds, 1), shards=kept())
    last = Watched(prepare, env)
    say(
        "the rest", seconds=round(last.seconds, 1), in_all=round(spent + last.seconds, 1),
        the_same=json.loads(last.out) == facts,
    )  # fmt: skip
    runs = args.folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    train = ["train", str(tars), *TINY, "--minutes", str(args.seconds / 60), "--out", str(runs / "timed")]
    trained = Watched(train, env)
    rows = (runs / "timed" / "metrics.jsonl").read_text().splitlines()
    say(
        "trained", rc=trained.rc, seconds=round(trained.seconds, 1), updates=len(rows),
        peak_mib=round(trained.peak_mib), every_15_s=trained.curve[::30],
    )  # fmt: skip
    digests = {}
    for processes in (1, 4):
        out = runs / f"of-{processes}" / "run"  # a model's file names its run
        words = ["train", str(tars), *TINY, "--images", "1280", "--virtual-processes", "4", "--out", str(out)]
        done = Watched([*words, *(["--processes", "4"] if processes > 1 else [])], env)
        files = [(out / name).read_bytes() for name in ("metrics.jsonl", "model.safetensors")]
        digests[processes] = [hashlib.sha256(file).hexdigest()[:12] for file in files], done.rc
    say("first updates", by_processes=digests)
    shutil.rmtree(cache)
    streamed = ["--stream", str(args.stream)]
    counted = Watched([*prepare, *streamed], env)
    say(
        "counted as a stream", seconds=round(counted.seconds, 1), peak_mib=round(counted.peak_mib),
        cache_mib=round(counted.disk_mib),
    )  # fmt: skip
    trained = Watched([*train[:-1], str(runs / "streamed"), *streamed], env)
    say(
        "trained on a stream", rc=trained.rc, seconds=round(trained.seconds, 1),
        updates=len((runs / "streamed" / "metrics.jsonl").read_text().splitlines()),
        peak_mib=round(trained.peak_mib), cache_mib=round(trained.disk_mib), every_15_s=trained.curve[::30],
    )  # fmt: skip


if __name__ == "__main__":
    main()
