"""What the GPU does in an inference: its kernels by time, and how much of it is the frontend.

PyTorch's profiler sees the kernels of the whole process, those in CUDA graphs too; so this needs a torch for CUDA.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from edgebird.benchmarks.device.attempts import Finding, attempt, float_graphs, golden_batch
from edgebird.bundle import Bundle
from edgebird.errors import NotInstalledError, RuntimeUnavailableError
from edgebird.runtimes import RuntimeOptions, open_runtime, probe
from edgebird.runtimes.ort_session import cuda_options, session_of

_BATCHES = (1, 8, 64)
_RUNS = 10
_SHOWN, _NAME = 25, 160  # kernels, characters of a name


def kernels(bundle: Bundle, runtime: str = "ort-cuda") -> Iterator[Finding]:
    """A table of each float graph and of its frontend alone, at batches 1, 8 and 64; times are of one inference."""
    probe(runtime)
    for precision in float_graphs(bundle):
        yield from attempt(f"{precision} kernels", partial(_whole, bundle, runtime, precision))
        yield from attempt(f"{precision} frontend", partial(_frontend, bundle, runtime, precision))


def _whole(bundle: Bundle, name: str, precision: str) -> Iterator[Finding]:
    with closing(open_runtime(bundle, name, RuntimeOptions(precision))) as runtime:
        for batch in _BATCHES:
            yield {"batch": batch, **profiled(partial(runtime.infer, golden_batch(bundle, batch)))}


def _frontend(bundle: Bundle, name: str, precision: str) -> Iterator[Finding]:
    """The part of the graph from the waves to the images, which stay on the GPU."""
    import onnxruntime as ort
    from onnx import load_model
    from onnx.utils import Extractor

    card = bundle.card
    if not card.images:
        raise RuntimeUnavailableError("the card names no images of the frontend")
    part = Extractor(load_model(bundle.model(precision))).extract_model([card.input.name], list(card.images))
    session = session_of(part.SerializeToString(), name, None, cuda_options(precision))
    for batch in _BATCHES:
        binding = session.io_binding()
        wave = ort.OrtValue.ortvalue_from_numpy(golden_batch(bundle, batch), "cuda", 0)
        binding.bind_ortvalue_input(card.input.name, wave)
        for image in card.images:
            binding.bind_output(image, "cuda")
        yield {"batch": batch, **profiled(partial(session.run_with_iobinding, binding))}


def profiled(work: Callable[[], object], runs: int = _RUNS) -> dict[str, Any]:
    """Kernels and copies of a call of `work`, the longest first: microseconds, how many, share.

    us: the sum of all; busy_us: how long any of them ran; kernels: how many. Raises NotInstalledError,
    RuntimeUnavailableError.
    """
    try:
        import torch
        from torch.profiler import ProfilerActivity, profile
    except ImportError as error:
        raise NotInstalledError("the profiler needs a torch for CUDA") from error
    if not torch.cuda.is_available():
        raise RuntimeUnavailableError(f"PyTorch {torch.__version__} sees no NVIDIA GPU")
    for _ in range(3):
        work()
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as seen:
        for _ in range(runs):
            work()
        torch.cuda.synchronize()
    events = [event for event in seen.events() or () if event.device_type.name == "CUDA"]
    if not events:
        raise RuntimeUnavailableError("the profiler saw no kernel")
    spans = [(event.name, event.time_range.start, event.time_range.end) for event in events]
    return table(spans, runs)


def table(spans: Sequence[tuple[str, float, float]], runs: int) -> dict[str, Any]:
    """As `profiled`, from names, starts and ends in microseconds of what the GPU did in so many runs."""
    taken: dict[str, list[float]] = defaultdict(list)
    for name, start, end in spans:
        taken[name].append(end - start)
    total = math.fsum(end - start for _, start, end in spans)
    longest = sorted(taken, key=lambda name: -sum(taken[name]))
    rows = [{"kernel": name[:_NAME], "us": round(sum(taken[name]) / runs, 2), "count": len(taken[name]) / runs,
             "share": round(sum(taken[name]) / total, 4)} for name in longest[:_SHOWN]]  # fmt: skip
    return {"us": round(total / runs, 1), "busy_us": round(_union(spans) / runs, 1), "kernels": len(spans) / runs,
            "table": rows}  # fmt: skip


def _union(spans: Sequence[tuple[str, float, float]]) -> float:
    covered, reached = 0.0, -math.inf
    for start, end in sorted((start, end) for _, start, end in spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered
