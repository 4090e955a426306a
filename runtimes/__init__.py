"""edgebird.runtimes: the engines that run a bundle, a file or folder each, imported when asked for.

A runtime is what `Runtime` says, and a name in `RUNTIMES`. `open_runtime` opens the one that was asked for or raises;
nothing falls back to another engine in silence. `auto` tries several in order and tells why it took what it took.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from types import ModuleType
from typing import Protocol

from edgebird.bundle import Bundle, open_bundle
from edgebird.card import Card
from edgebird.cascade import CascadeUse
from edgebird.errors import EdgebirdError, NotInstalledError, RuntimeUnavailableError, UsageError
from edgebird.parity import BF16_OF
from edgebird.runtimes import apart
from edgebird.types import FloatArray

log = logging.getLogger(__name__)

# Name -> module. Each has `open_runtime(bundle, name, options) -> Runtime`, and `probe(name) -> str`: versions and
# devices of an engine that can really run here; both raise RuntimeUnavailableError.
RUNTIMES = {
    "ort-cpu": "edgebird.runtimes.ort",
    "ort-cuda": "edgebird.runtimes.ort",
    "ort-tensorrt": "edgebird.runtimes.ort",
    "ort-webgpu": "edgebird.runtimes.ort_plugin",
    "ort-rtx": "edgebird.runtimes.ort_plugin",
    "tensorrt": "edgebird.runtimes.trt.opening",
    "tensorrt-rtx": "edgebird.runtimes.trt.opening",
    "null": "edgebird.runtimes.null",
    "openvino": "edgebird.runtimes.ov",
    "openvino-gpu": "edgebird.runtimes.ov",
    "openvino-npu": "edgebird.runtimes.ov",
}
# Runtime -> the Python module, in native code, that its engine is.
ENGINE_MODULES = {
    **dict.fromkeys(("ort-cpu", "ort-cuda", "ort-tensorrt"), "onnxruntime"),
    **dict.fromkeys(("openvino", "openvino-gpu", "openvino-npu"), "openvino"),
    "ort-webgpu": "onnxruntime_ep_webgpu",
    "ort-rtx": "onnxruntime_ep_nv_tensorrt_rtx",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
}
# What `auto` tries, in order: GPUs first, and on a CPU the engine that is fastest at the precision.
AUTO = ("tensorrt", "tensorrt-rtx", "ort-cuda", "ort-cpu", "openvino")
AUTO_BY_PRECISION = {
    **dict.fromkeys(BF16_OF, ("openvino",)),  # nothing else makes them
    # On a CPU ONNX Runtime would compute all of them in FP32.
    **dict.fromkeys(("int8", "int8+fp16"), ("tensorrt", "tensorrt-rtx", "ort-cuda", "openvino", "ort-cpu")),
}


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """How to open a runtime.

    precision: which graph of the bundle. threads: of the CPU, None for all cores. batches: the batch sizes that will
    be used, None for those of the card; each is run once before the runtime is handed out, so that no first use is slow
    or wrong. throughput: on a CPU, score as many windows at the same time as there are threads, one on each: recordings
    are through sooner, a single window takes longer than with all threads on it. measure: find out how many windows at
    once are scored fastest, which takes seconds, where an engine can. outputs: what `infer_outputs` gives beside the
    scores, as the card calls it, such as `embeddings`. cascade: score by stages (docs/cascade.md), None: all in full.
    """

    precision: str = "fp32"
    threads: int | None = None
    batches: tuple[int, ...] | None = None
    throughput: bool = False
    measure: bool = False
    outputs: tuple[str, ...] = ()
    cascade: CascadeUse | None = None


class Runtime(Protocol):
    """An engine with a model in it. Not thread-safe, but for as many calls of `infer` at the same time as it says.

    provider: what really runs, as the engine tells it.
    batch_size: how many windows to give at once where there are plenty; more gains nothing.
    concurrency: how many calls of `infer` may run at the same time, 2 where the second takes up what the first leaves
    idle at its end.
    """

    name: str
    card: Card
    provider: str
    batch_size: int
    concurrency: int

    def infer(self, windows: FloatArray) -> FloatArray:
        """Score windows: float32 [batch, window_samples], -1 to 1 -> float32 [batch, classes], 0 to 1.

        The result belongs to the caller. Raises ValueError for another shape or dtype, ScoreError if a score is not
        finite.
        """
        ...

    def infer_outputs(self, windows: FloatArray) -> dict[str, FloatArray]:
        """The scores of windows as `scores`, and the outputs that it was opened with, each float32 [batch, ...].

        Raises as `infer` does.
        """
        ...

    def close(self) -> None:
        """Free the engine; closing twice is harmless."""
        ...


def open_runtime(
    bundle: Bundle,
    name: str = "auto",
    options: RuntimeOptions | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Runtime:
    """Open a bundle in an engine, warmed up.

    `auto` tells its choice through `tell`, and a line for each engine before it that is installed and cannot run; what
    is not installed goes to the log.

    Raises RuntimeUnavailableError (with every reason, for `auto`), BundleError, UsageError for an unknown name.
    """
    options = options or RuntimeOptions()
    if options.cascade is not None:
        cascade = importlib.import_module("edgebird.runtimes.cascade")
        return cascade.open_runtime(bundle, name, options, tell)  # type: ignore[no-any-return]
    if name != "auto":
        return _module(name).open_runtime(bundle, name, options)  # type: ignore[no-any-return]
    refused: dict[str, RuntimeUnavailableError] = {}
    for candidate in AUTO_BY_PRECISION.get(options.precision, AUTO):
        try:
            runtime: Runtime = _module(candidate).open_runtime(bundle, candidate, options)
        except RuntimeUnavailableError as error:
            refused[candidate] = error
            continue
        tell(f"runtime {candidate}")
        for other, why in refused.items():
            if isinstance(why, NotInstalledError):
                log.debug("not %s: %s", other, _without_name(other, why))
            else:
                tell(f"  not {other}: {_without_name(other, why)}")
        return runtime
    reasons = "; ".join(f"{other} ({_without_name(other, error)})" for other, error in refused.items())
    raise RuntimeUnavailableError(f"no engine can run here: {reasons}")


def _without_name(name: str, error: RuntimeUnavailableError) -> str:
    return str(error).removeprefix(f"{name} ").removeprefix(f"{name}: ")


def open_apart(bundle: Bundle, name: str, options: RuntimeOptions, *about: str) -> None:
    """Open a bundle in a process of its own first, if this engine was not seen to survive that here before.

    Engines call it before they import anything. about: what else than bundle and engine may change. Raises
    RuntimeUnavailableError if it crashed or hung.
    """
    graph = bundle.graph_of(options.precision)
    size = (bundle.path / graph.file).stat().st_size
    seconds = max(apart.ANSWER_S, min(2e-6 * size, 2 * apart.ANSWER_S))  # a large model on a slow computer
    request = json.dumps([str(bundle.path.absolute()), name, asdict(replace(options, measure=False))])
    opener = apart.Question("edgebird.runtimes:open_and_close", request, seconds)
    apart.survives(name, ENGINE_MODULES[name], opener, (graph.sha256, options.precision, *about))


def open_and_close(request: str) -> str:
    """What `open_apart` has done in the other process."""
    path, name, options = json.loads(request)
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    options["cascade"] = CascadeUse(**options["cascade"]) if options["cascade"] else None
    open_runtime(open_bundle(path), name, RuntimeOptions(**options)).close()
    return ""


def probe(name: str) -> str:
    """Versions and devices of an engine, in one line, if it can really run here; else RuntimeUnavailableError."""
    return str(_module(name).probe(name))


def probe_apart(names: Sequence[str]) -> Iterator[tuple[str, str | EdgebirdError]]:
    """The same of several, each with its name, asked in other processes: what an engine does to them is its answer."""
    for module, group in groupby(names, ENGINE_MODULES.get):
        asked = list(group)
        if module and apart.to_be_asked(module):
            yield from zip(asked, apart.ask("edgebird.runtimes:probe", asked), strict=True)
            continue
        for name in asked:
            try:
                yield name, probe(name)
            except EdgebirdError as error:
                yield name, error


def _module(name: str) -> ModuleType:
    if name not in RUNTIMES:
        raise UsageError(f"unknown runtime {name!r}: use auto, {', '.join(RUNTIMES)}")
    return importlib.import_module(RUNTIMES[name])
