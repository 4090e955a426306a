"""ONNX Runtime on CUDA: are the scores right however cuDNN's algorithms are chosen, and what would options change?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from edgebird.benchmarks.device.attempts import Finding, attempt, float_graphs, golden_batch, milliseconds, parity_of
from edgebird.benchmarks.device.session import device_run
from edgebird.bundle import Bundle
from edgebird.errors import RuntimeUnavailableError
from edgebird.runtimes import probe
from edgebird.runtimes.ort_bound import BoundRuns
from edgebird.runtimes.ort_session import cuda_options
from edgebird.runtimes.outputs import Outputs

_PROVEN = (1, 4, 8)
_SEARCHES: tuple[dict[str, str], ...] = (
    {},
    {"cudnn_conv_algo_search": "EXHAUSTIVE"},
    {"cudnn_conv_algo_search": "DEFAULT"},
    {"cudnn_conv_algo_search": "EXHAUSTIVE", "prefer_nhwc": "1"},
)
# Name, options, batches, and whether with CUDA graphs.
_OPTIONS: tuple[tuple[str, dict[str, str], tuple[int, ...], bool], ...] = (
    ("no graph", {}, (1, 4, 8, 32, 128), False),
    ("graph", {}, (1, 8, 32, 64), True),
    ("nhwc", {"prefer_nhwc": "1"}, (1, 8, 64), True),
    ("nchw", {"prefer_nhwc": "0"}, (1, 8, 64), True),
    ("search", {"cudnn_conv_algo_search": "EXHAUSTIVE"}, (1, 8), True),
)


def algorithms(bundle: Bundle, runtime: str = "ort-cuda") -> Iterator[Finding]:
    """How far scores are from the original's with each way to choose cuDNN's algorithms, FP32 without TF32.

    runtime: `ort-cpu` to try this where there is no GPU, here and below; options of the GPU are left out then.
    """
    probe(runtime)
    for precision in float_graphs(bundle):
        for options in _SEARCHES:
            yield from attempt(f"{precision} {options}", partial(_searched, bundle, precision, options, runtime))


def _searched(bundle: Bundle, precision: str, options: Mapping[str, str], runtime: str) -> Iterator[Finding]:
    begun = time.perf_counter()
    with device_run(bundle, precision, runtime, _PROVEN, options) as run:
        opened = time.perf_counter()
        run(golden_batch(bundle, 1))
        first = time.perf_counter()
        found = parity_of(bundle, precision, run, _PROVEN)
        yield {"open_s": round(opened - begun, 2), "first_ms": round((first - opened) * 1e3, 1), "parity": found}


def tf32(bundle: Bundle, device: str = "cuda") -> Iterator[Finding]:
    """FP32 with and without TF32: how far off is it on this GPU, and what would it gain?

    The variable that forbids TF32 must not be set in this process, so the session is not edgebird's own.
    """
    import onnxruntime as ort

    from edgebird.runtimes.ort_libraries import preload

    provider = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}[device]
    preload(ort)

    def measured(allowed: str) -> Iterator[Finding]:
        given = {**cuda_options("fp32"), "use_tf32": allowed} if device == "cuda" else {}
        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(str(bundle.model("fp32")), options, [provider], [given], enable_fallback=0)
        if session.get_providers()[0] != provider:
            raise RuntimeUnavailableError(f"tf32: ONNX Runtime took {session.get_providers()} for {provider}")
        runs = BoundRuns(session, Outputs(bundle.card), (), device)
        windows = golden_batch(bundle, 8)
        yield {"parity": parity_of(bundle, "fp32", runs.run, (1, 4)),
               "ms_of_8": milliseconds(lambda: runs.run(windows), 0.5)}  # fmt: skip
        runs.close()

    for allowed in ("0", "1"):
        yield from attempt(f"use_tf32={allowed}", partial(measured, allowed))


def options(bundle: Bundle, runtime: str = "ort-cuda", seconds: float = 0.3) -> Iterator[Finding]:
    """Milliseconds over batch sizes, and what CUDA graphs, NHWC and the search for algorithms change.

    seconds: for each figure.
    """
    probe(runtime)
    for name, *how in _OPTIONS:
        for precision in float_graphs(bundle):
            work = partial(_over_batches, bundle, precision, runtime, how, seconds)
            yield from attempt(f"{precision} {name}", work)


def _over_batches(
    bundle: Bundle, precision: str, runtime: str, how: Sequence[Any], seconds: float
) -> Iterator[Finding]:
    given, batches, graphs = how
    with device_run(bundle, precision, runtime, batches, given, graphs) as run:
        for batch in batches if runtime == "ort-cuda" else batches[:1]:
            windows = golden_batch(bundle, batch)
            begun = time.perf_counter()
            first = run(windows)
            warm = time.perf_counter() - begun
            again = run(windows)
            taken = milliseconds(partial(run, windows), seconds)
            found: dict[str, Any] = {"batch": batch, "warm_s": round(warm, 2), "ms": taken}
            yield found | {"ms_a_window": taken["p50"] / batch, "repeats_exactly": bool(np.array_equal(first, again))}
