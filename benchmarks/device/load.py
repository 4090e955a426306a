"""Energy under load at several batch sizes, and what limits a long recording: the GPU, or reading."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from edgebird.benchmarks.device.attempts import Finding, Run, attempt, float_graphs, golden_batch
from edgebird.benchmarks.device.session import device_run
from edgebird.benchmarks.sensors import Meter, nvml, open_sensors
from edgebird.bundle import Bundle
from edgebird.demo import RECORDING
from edgebird.errors import RuntimeUnavailableError
from edgebird.runtimes import probe
from edgebird.sources import FileSource

_BATCHES = (1, 8, 64)
_STUCK_S = 5.0  # after which a counter that has not moved is taken for one that does not


def energy(bundle: Bundle) -> Iterator[Finding]:
    """What NVML counts idle and under load, how often its counter moves, and what slows the GPU."""
    probe("ort-cuda")
    with closing(open_sensors()) as sensors:
        yield {"meters": [meter.name for meter in sensors.meters], "missing": sensors.missing, "turn_s": sensors.turn_s}
    try:
        gpu = nvml.open_gpu()
        meter = gpu.energy()
    except nvml.NoSensorError as error:
        raise RuntimeUnavailableError(f"no energy: {error}") from error
    with closing(gpu):
        yield from attempt("counter", partial(_counter, meter, 1.0))
        yield from attempt("idle", partial(_idle, meter, 2.0))
        for precision in float_graphs(bundle):
            with device_run(bundle, precision, "ort-cuda", _BATCHES) as run:
                for batch in _BATCHES:
                    yield from attempt(
                        f"{precision} {batch}", partial(under_load, run, golden_batch(bundle, batch), meter, 3.0)
                    )
            yield {"state": gpu.state()}


def _counter(meter: Meter, seconds: float) -> Iterator[Finding]:
    changes: list[float] = []
    steps: list[float] = []
    before, end = meter.joules(), time.perf_counter() + seconds
    while not steps or time.perf_counter() < end:
        now = meter.joules()
        if now != before:
            changes.append(time.perf_counter())
            steps.append(now - before)
            before = now
        elif time.perf_counter() > end + _STUCK_S:
            break
    gap = float(np.median(np.diff(changes))) if len(changes) > 1 else None
    yield {"changes": len(changes), "median_gap_s": gap, "smallest_step_j": min(steps, default=None)}


def _idle(meter: Meter, seconds: float) -> Iterator[Finding]:
    start, begun = meter.joules(), time.perf_counter()
    time.sleep(seconds)
    yield {"watts": round((meter.joules() - start) / (time.perf_counter() - begun), 2)}


def under_load(run: Run, windows: Any, meter: Meter, seconds: float) -> Iterator[Finding]:
    """Watts, joules a window and windows a second, while windows [batch, samples] are scored again and again."""
    for _ in range(5):
        run(windows)
    start, begun, count = meter.joules(), time.perf_counter(), 0
    while not count or time.perf_counter() - begun < seconds:
        run(windows)
        count += len(windows)
    joules, taken = meter.joules() - start, time.perf_counter() - begun
    yield {"watts": round(joules / taken, 1), "joules_a_window": joules / count,
           "windows_per_s": round(count / taken, 1)}  # fmt: skip


def detect(bundle: Bundle, runtime: str, precision: str, seconds: str = "1800") -> Iterator[Finding]:
    """A recording of so many seconds: how fast it is read alone, and how fast `detect` is through with it."""
    probe(runtime)
    sound, rate = soundfile.read(RECORDING, dtype="int16", always_2d=False)
    length = float(seconds)
    with tempfile.TemporaryDirectory(prefix="edgebird-") as folder:
        recording = Path(folder) / "long.wav"
        for file_rate in (48_000, rate):  # the same samples, said to be of another rate: those are resampled
            soundfile.write(recording, np.resize(sound, (round(length * file_rate), *sound.shape[1:])), file_rate)
            begun = time.perf_counter()
            for _ in FileSource(recording, bundle.card.sample_rate).blocks():
                pass
            yield {"reading": file_rate, "x_real_time": round(length / (time.perf_counter() - begun), 1)}
        command = [sys.executable, "-m", "edgebird", "detect", str(recording), "--bundle", str(bundle.path)]
        command += ["--runtime", runtime, "--precision", precision, "--format", "csv"]
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        taken = time.perf_counter() - begun
        told = done.stderr.strip().splitlines()[-3:]
        failed = {"failed": f"detect: {told[-1] if told else done.returncode}"} if done.returncode else {}
        yield {
            "detect": runtime,
            "seconds": round(taken, 2),
            "x_real_time": round(length / taken, 1),
            "told": told,
        } | failed
