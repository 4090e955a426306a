"""How much longer a cluster takes than its workers would need: actors without a CPU that sleep 70 ms for each window.

    python -m edgebird.benchmarks.studies.cluster --workers 100 --recordings 5 --hours 24

Ray is started on this computer, and its actors before the clock. Recordings are silence at 1 kHz with a window each
second, so that reading costs little; all else is what `edgebird detect --on ray` does. The ideal is windows times 70 ms
by workers. Ray gives its workers a niceness of 15, with which a busy computer lets them wait: `RAY_worker_niceness=0`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from edgebird.archives.distributing import process_on
from edgebird.archives.on_ray import RayCluster, SpanWorker, WorkerOptions
from edgebird.archives.pool import Pool
from edgebird.archives.spans import SpanOptions
from edgebird.bundle import open_bundle
from edgebird.card import Card
from edgebird.demo import BUNDLE
from edgebird.detection import settings_for
from edgebird.errors import AudioError
from edgebird.recordings import Work
from edgebird.sources import FileSource, find_audio
from edgebird.types import FloatArray, Summary

_RATE = 1000


class Sleeping:
    """A runtime that sleeps. seconds: for each window."""

    name, provider, batch_size, concurrency = "sleeping", "nothing", 8, 1

    def __init__(self, card: Card, seconds: float) -> None:
        self.card, self._seconds = card, seconds

    def infer(self, windows: FloatArray) -> FloatArray:
        """Scores of 0."""
        time.sleep(self._seconds * len(windows))
        return np.zeros((len(windows), len(self.card.labels)), np.float32)

    def infer_outputs(self, windows: FloatArray) -> dict[str, FloatArray]:
        """The same, by its name."""
        return {"scores": self.infer(windows)}

    def close(self) -> None:
        """Nothing is open."""


class SleepingWorker(SpanWorker):
    """A worker with such a runtime."""

    def __init__(self, spans: SpanOptions, runtime: Sleeping) -> None:
        self._how, self._runtime = spans, runtime


class SleepingCluster(RayCluster):
    """A cluster whose workers need no CPU; all are ready when it is made."""

    def __init__(self, workers: int, runtime: Sleeping) -> None:
        how = SpanOptions(_RATE, 0.5)
        super().__init__(None, WorkerOptions("", "", "null", "fp32", how))
        actor: Any = self._ray.remote(num_cpus=0)(SleepingWorker)
        self._made = [actor.remote(how, runtime) for _ in range(workers)]
        self._ray.get([worker.ready.remote() for worker in self._made])
        self._size = workers

    def room(self) -> int:
        """See `Cluster`."""
        return self._size

    def start(self) -> tuple[Any, Any]:
        """See `Cluster`."""
        worker = self._made.pop()
        return worker, worker.ready.remote()


class Silent:
    """Counts windows, and says nothing."""

    windows = 0

    def begin(self, source: FileSource) -> None:
        """See `Watcher`."""

    def advance(self, seconds: float) -> None:
        """See `Watcher`."""

    def done(self, source: FileSource, summary: Summary) -> None:
        """See `Watcher`."""
        self.windows += summary.windows

    def failed(self, error: AudioError) -> None:
        """See `Watcher`."""
        raise error


def measure(folder: Path, workers: int, seconds: float) -> tuple[float, float]:
    """Seconds that the recordings of a folder took, and the least that they could."""
    card = replace(open_bundle(BUNDLE).card, sample_rate=_RATE, window_samples=_RATE, db_floor="window")
    runtime, silent = Sleeping(card, seconds), Silent()
    recordings, _ = find_audio([folder])
    with closing(SleepingCluster(workers, runtime)) as cluster:
        began = time.monotonic()
        process_on(Pool(cluster), recordings, Work(runtime, settings_for(card, 1.0)), [], silent)
        took = time.monotonic() - began
    return took, silent.windows * seconds / workers


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--recordings", type=int, default=5)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--ms", type=float, default=70.0)
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        for number in range(wanted.recordings):
            with soundfile.SoundFile(f"{name}/{number}.wav", "w", _RATE, 1, "PCM_16") as file:
                for _ in range(round(wanted.hours)):
                    file.write(np.zeros(3600 * _RATE, np.int16))
        took, ideal = measure(Path(name), wanted.workers, wanted.ms / 1000)
    print(f"{took:.1f} s, ideal {ideal:.1f} s, makespan / ideal {took / ideal:.3f}")


if __name__ == "__main__":
    main()
