"""edgebird beside the original on the same GPU, in turns: latency, time of a window in batches, throughput, overhead.

The original runs with PyTorch's defaults, with cuDNN's search for algorithms, and without TF32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from edgebird.benchmarks.device.attempts import Finding, attempt, golden_batch
from edgebird.benchmarks.device.original import original
from edgebird.benchmarks.method import orders
from edgebird.benchmarks.split import Splitting
from edgebird.bundle import Bundle
from edgebird.runtimes import Runtime, RuntimeOptions, open_runtime
from edgebird.types import FloatArray

_ROUNDS, _WARM = 10, 10
_AT_ONE = 200  # calls a subject at batches 1 and 4
_AT_MANY = 50
_LARGE = (8, 16, 32, 64)
_ORIGINALS = {  # name -> TF32 in convolutions, search for algorithms
    "torchscript": (True, False),  # PyTorch's defaults
    "torchscript search": (True, True),
    "torchscript fp32": (False, True),
}

Calls = Callable[[int, int], Mapping[str, list[float]]]  # batch, runs -> wall_ms and gpu_ms of each run


def targets(bundle: Bundle, runtime: str, precisions: str, file: str = "", batches: str = "") -> Iterator[Finding]:
    """Milliseconds of every subject at batches 1, 4, 8 to 64, then the ratios that issue from them.

    precisions: separated by commas. file: TorchScript of the original; without it there are no ratios. batches: others
    than these, and few calls, to try this out.
    """
    subjects: dict[str, Calls] = {}
    sizes = [int(size) for size in batches.split(",")] if batches else [1, 4, *_LARGE]
    turns = 1 if batches else _ROUNDS
    with ExitStack() as stack:
        for precision in precisions.split(","):
            opened = stack.enter_context(
                closing(open_runtime(bundle, runtime, RuntimeOptions(precision, throughput=True, measure=True)))
            )
            subjects[f"{runtime} {precision}"] = partial(_ours, opened, golden_batch(bundle, max(_LARGE)))
        for name, how in _ORIGINALS.items() if file else ():
            device = "cpu" if runtime == "ort-cpu" else "cuda"
            process = stack.enter_context(original(Path(file), bundle.path, device, *how))
            yield {"subject": name, **process.facts}
            subjects[name] = process.run
        found: dict[tuple[str, int], float] = {}
        for batch in sizes:
            runs = (_AT_ONE if batch <= 4 else _AT_MANY) // _ROUNDS if turns > 1 else 2
            for finding in attempt(f"batch {batch}", partial(_in_turns, subjects, batch, runs, turns)):
                yield finding
                if "wall_ms" in finding:
                    found[finding["subject"], batch] = finding["wall_ms"]["p50"]
        if file:
            ours = [name for name in subjects if name not in _ORIGINALS]
            yield from attempt("ratios", partial(_ratios, found, ours))


def _ours(runtime: Runtime, windows: FloatArray, batch: int, runs: int) -> Mapping[str, list[float]]:
    some, wall = np.ascontiguousarray(windows[:batch]), []
    for _ in range(runs):
        begun = time.perf_counter()
        runtime.infer(some)
        wall.append((time.perf_counter() - begun) * 1e3)
    split = runtime.split if isinstance(runtime, Splitting) and batch <= runtime.batch_size else None
    parts = [split(some) for _ in range(runs)] if split else []
    gpu = [one.get("h2d", 0.0) + one.get("graph", one["compute"]) + one.get("d2h", 0.0) for one in parts if one]
    return {"wall_ms": wall, "gpu_ms": gpu, "overhead_ms": [one["overhead"] for one in parts if "overhead" in one]}


def _in_turns(subjects: Mapping[str, Calls], batch: int, runs: int, turns: int) -> Iterator[Finding]:
    """Each subject's runs, in `turns` rounds; the order changes each round."""
    names = list(subjects)
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for name in names:
        subjects[name](batch, _WARM if turns > 1 else 1)
    for order in islice(orders(len(names)), turns):
        for position in order:
            for kind, times in subjects[names[position]](batch, runs + 1).items():
                samples[names[position]].setdefault(kind, []).extend(times[1:])  # the first, after another, is left out
    for name in names:
        wall = samples[name]["wall_ms"]
        figures = {kind: _figures(times) for kind, times in samples[name].items() if times}
        yield {"subject": name, "batch": batch, "calls": len(wall), **figures,
               "ms_a_window": round(float(np.median(wall)) / batch, 5)}  # fmt: skip


def _figures(samples: Sequence[float]) -> dict[str, float]:
    p50, p99 = np.percentile(samples, (50, 99))
    return {"p50": round(float(p50), 4), "min": round(min(samples), 4), "p99": round(float(p99), 4)}


def _ratios(found: Mapping[tuple[str, int], float], ours: Sequence[str]) -> Iterator[Finding]:
    """(a) latency at batch 1, (b) a window at batch 4, both a share of the original's; (c) how many times the windows a
    second of the original at batch 4 the best batch gives, and at the original's own best.
    """
    for theirs in _ORIGINALS:
        best_of_theirs = min((found[theirs, batch] / batch, batch) for subject, batch in found if subject == theirs)
        for name in ours:
            best = min((found[name, batch] / batch, batch) for subject, batch in found if subject == name)
            yield {"subject": name, "beside": theirs,
                   "a_batch_1": round(found[name, 1] / found[theirs, 1], 4),
                   "b_batch_4": round(found[name, 4] / found[theirs, 4], 4),
                   "c_throughput": round(found[theirs, 4] / 4 / best[0], 2), "best_batch": best[1],
                   "beside_their_best": round(best_of_theirs[0] / best[0], 2), "their_best_batch": best_of_theirs[1],
                   }  # fmt: skip
