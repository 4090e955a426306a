"""How fast an adopted model is, beside LiteRT with the file that it was adopted from: docs/models.md has the table.

    python -m edgebird.benchmarks.studies.adopted BUNDLE MODEL.tflite

One window at a time, one thread, in turns. The CPU's time is what a busy machine tells, too.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from edgebird.bundle import open_bundle
from edgebird.runtimes import RuntimeOptions, open_runtime
from edgebird.types import FloatArray

_RUNTIMES = ("ort-cpu", "openvino")
_CALLS, _BEFORE = 50, 5


def main(bundle_path: str, model: str) -> None:
    """Print a table of milliseconds a window."""
    from edgebird.export.adopt.reference import LiteRt

    bundle = open_bundle(bundle_path)
    window = bundle.golden().windows()[:1]
    litert = LiteRt(Path(model), bundle.card.output.name)
    engines: dict[str, Callable[[FloatArray], object]] = {litert.name: litert.output}
    opened = [open_runtime(bundle, name, RuntimeOptions(threads=1)) for name in _RUNTIMES]
    engines |= {f"{runtime.name}/fp32": runtime.infer for runtime in opened}
    print("| engine | CPU ms, least / median | of LiteRT's | wall ms, least / median |\n|---|---|---|---|")
    taken = measured(engines, window)
    for name, (cpu, wall) in taken.items():
        share = np.median(cpu) / np.median(taken[litert.name][0])
        spent, waited = (f"{min(times):.1f} / {np.median(times):.1f}" for times in (cpu, wall))
        print(f"| {name} | {spent} | {share:.2f} | {waited} |")
    for runtime in opened:
        runtime.close()


def measured(
    engines: Mapping[str, Callable[[FloatArray], object]], window: FloatArray
) -> dict[str, tuple[list[float], list[float]]]:
    """Milliseconds of the CPU and by the clock of each call, the engines in turns."""
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in engines}
    for turn in range(_BEFORE + _CALLS):
        for name, score in engines.items():
            cpu, wall = time.process_time(), time.perf_counter()
            score(window)
            if turn >= _BEFORE:
                taken[name][0].append((time.process_time() - cpu) * 1e3)
                taken[name][1].append((time.perf_counter() - wall) * 1e3)
    return taken


if __name__ == "__main__":
    main(*sys.argv[1:])
