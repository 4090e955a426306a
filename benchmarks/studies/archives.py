"""What `edgebird detect --resume` costs, and how much memory a large archive takes.

    python -m edgebird.benchmarks.studies.archives BUNDLE --recordings 100000 --rounds 2

Links to one recording of a second, in folders of a thousand, become CSV tables by `--runtime null`, which scores
nothing: what is timed is all but the engine, with and without `--resume` in turns. A last run with `--resume` finds all
done. `--in DIR` says on which disk: in memory (/dev/shm) waiting for the disk hides nothing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile

from edgebird.benchmarks.method import orders

_RATE = 32000
_LINKS = 50000  # to one file: ext4 has room for 65,000
_IN_A_FOLDER = 1000
_WAYS = {"without": (), "with --resume": ("--resume",)}


@dataclass(frozen=True, slots=True)
class ArchiveRun:
    """What a run took: wall and CPU seconds, and its largest memory in MB."""

    wall_s: float
    cpu_s: float
    memory_mb: float


def make_links(folder: Path, count: int) -> Path:
    """An archive of so many names of one recording of a second."""
    audio, first = folder / "audio", folder / "audio"
    for number in range(count):
        path = audio / f"R{number // _IN_A_FOLDER:03}" / f"20230501_{number % _IN_A_FOLDER:06}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % _LINKS == 0:
            soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, _RATE), _RATE)
            first = path
        else:
            path.hardlink_to(first)
    return audio


def run(audio: Path, bundle: Path, out: Path, options: tuple[str, ...]) -> ArchiveRun:
    """Detect in all of it."""
    command = [sys.executable, "-m", "edgebird", "-q", "detect", str(audio), "--bundle", str(bundle)]
    command += ["--runtime", "null", "--format", "csv", "--out", str(out), *options]
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    return ArchiveRun(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--recordings", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--in", dest="folder", type=Path, default=None)
    wanted = parser.parse_args()
    found: dict[str, list[ArchiveRun]] = {way: [] for way in _WAYS}
    with tempfile.TemporaryDirectory(dir=wanted.folder) as name:
        audio, out = make_links(Path(name), wanted.recordings), Path(name) / "out"
        for order in islice(orders(len(_WAYS)), wanted.rounds):
            for index in order:
                way, options = list(_WAYS.items())[index]
                shutil.rmtree(out, ignore_errors=True)
                found[way].append(run(audio, wanted.bundle, out, options))
                print(f"{way}: {found[way][-1]}", file=sys.stderr)
        shutil.rmtree(out, ignore_errors=True)
        run(audio, wanted.bundle, out, ("--resume",))
        again = run(audio, wanted.bundle, out, ("--resume",))
    print("| way | wall s, fastest | CPU s, fastest | memory MB, largest |\n|---|---|---|---|")
    for way, runs in (*found.items(), ("again, all done", [again])):
        wall, cpu = min(run.wall_s for run in runs), min(run.cpu_s for run in runs)
        print(f"| {way} | {wall:.1f} | {cpu:.1f} | {max(run.memory_mb for run in runs):.0f} |")
    ratios = [after.wall_s / before.wall_s for before, after in zip(*found.values(), strict=True)]
    print(
        f"ratio of wall seconds, median of the rounds: {np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    )


if __name__ == "__main__":
    main()
