"""What listening takes beside the engine: CPU for a window of `edgebird listen`, and of the engine alone at its pace.

    python -m edgebird.benchmarks.studies.listening BUNDLE --runtime ort-cpu -- --mic --device pulse:garden

What follows `--` is for `edgebird listen`: one source that is heard as it sounds. The two take turns. The CPU time is
the kernel's (Linux), of all threads of the station and of its capture processes, from when it has settled.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgebird.bundle import Bundle, open_bundle
from edgebird.detection import HOP_S
from edgebird.errors import EdgebirdError, UsageError
from edgebird.runtimes import Runtime, RuntimeOptions, open_runtime

_SETTLE_S = 12.0  # until the source is open, its first window is scored, and loading is forgotten


def _cpu_ms(pid: int) -> float:
    """Of all threads of a process, so far."""
    stats = (path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(stat.split()[0]) for stat in stats) / 1e6


def _children(pid: int) -> Iterator[int]:
    """Processes that a process has started, and theirs."""
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text(encoding="ascii").split()):
            yield child
            yield from _children(child)


def _pause(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Let a process run for so long. Raises UsageError as soon as it ends."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise UsageError(f"listen has ended with exit code {code}")


def listen(command: Sequence[str], windows: int, hop_s: float, settle_s: float = _SETTLE_S) -> tuple[float, float]:
    """Milliseconds of CPU a window: of the station, and of its capture processes. Raises UsageError if it ends."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _pause(process, settle_s)
            captures = list(_children(process.pid))
            before = _cpu_ms(process.pid), sum(map(_cpu_ms, captures))
            _pause(process, windows * hop_s)
            after = _cpu_ms(process.pid), sum(map(_cpu_ms, captures))
            if list(_children(process.pid)) != captures:
                raise UsageError("a capture has begun or ended meanwhile")
        finally:
            process.terminate()
    return (after[0] - before[0]) / windows, (after[1] - before[1]) / windows


def alone(bundle: Bundle, runtime: Runtime, windows: int, hop_s: float) -> float:
    """Milliseconds of CPU a window of the engine in this process, when it is called as often."""
    window = bundle.golden().windows()[:1]
    for _ in range(2):
        runtime.infer(window)
    time.sleep(hop_s)
    runtime.infer(window)
    before = time.process_time()
    for _ in range(windows):
        time.sleep(hop_s)
        runtime.infer(window)
    return 1e3 * (time.process_time() - before) / windows


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="What listening takes beside the engine.")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--runtime", default="ort-cpu")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--hop", type=float, default=HOP_S, help="seconds")
    parser.add_argument("--windows", type=int, default=12, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("listen", nargs="+", metavar="...", help="after --: a source, as `edgebird listen` takes it")
    args = parser.parse_args()
    engine = ["--runtime", args.runtime, "--precision", args.precision, "--hop", str(args.hop)]
    engine += ["--threads", str(args.threads)] if args.threads else []
    command = [sys.executable, "-m", "edgebird", "-q", "listen", "--bundle", str(args.bundle), *engine, *args.listen]
    try:
        _take_turns(open_bundle(args.bundle), command, args)
    except EdgebirdError as error:
        sys.exit(f"error: {error}")


def _take_turns(bundle: Bundle, command: Sequence[str], args: argparse.Namespace) -> None:
    runtime = open_runtime(bundle, args.runtime, RuntimeOptions(args.precision, args.threads))
    heard, bare = [], []
    try:
        for number in range(args.rounds):
            station, capture = listen(command, args.windows, args.hop)
            heard.append(station + capture)
            bare.append(alone(bundle, runtime, args.windows, args.hop))
            told = f"the station {station:.1f}, its capture {capture:.1f}, the engine alone {bare[-1]:.1f}"
            print(f"round {number + 1}: {told} ms of CPU a window")
    finally:
        runtime.close()
    together, engine_ms = statistics.median(heard), statistics.median(bare)
    print(f"medians: {together:.1f} ms with all, {engine_ms:.1f} of the engine", end="")
    print(f", {100 * (together / engine_ms - 1):.1f} % more" if engine_ms > 1 else "")


if __name__ == "__main__":
    main()
