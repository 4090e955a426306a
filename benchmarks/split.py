"""Where the time of an inference goes, for engines that can tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from edgebird.benchmarks.material import Material
from edgebird.benchmarks.method import Duration, take_turns
from edgebird.benchmarks.subjects import Subject
from edgebird.bundle import Bundle
from edgebird.types import FloatArray

_RUNS = 20
_INCLUDES = {
    "openvino-gpu": "copies to and from the GPU",
    "openvino-npu": "copies to and from the NPU",
}
_DURATION = Duration(seconds=0.3, iterations=10, warm_up_s=0.1, warm_up_runs=2)


@runtime_checkable
class Splitting(Protocol):
    """A runtime that can time the parts of an inference."""

    def split(self, windows: FloatArray) -> Mapping[str, float]:
        """Milliseconds of the parts of one inference of windows [batch, window_samples]."""
        ...


@runtime_checkable
class Describing(Protocol):
    """A runtime that says what its times have in them."""

    def includes(self, batch: int) -> str:
        """Of an inference of so many windows."""
        ...


def includes(subject: Subject, batch: int) -> str:
    """What every sample of a subject has in it, besides the computation."""
    if isinstance(subject.runtime, Describing):
        return subject.runtime.includes(batch)
    return _INCLUDES.get(subject.runtime.name, "all in the CPU's memory, no copies to a device")


def measure(bundle: Bundle, subject: Subject, batch: int, material: Material) -> dict[str, Any]:
    """Medians of the parts of an inference in ms, as in the report; why they are unknown where they are."""
    if subject.runtime.name == "ort-cpu" and bundle.card.images:
        return _cut(bundle, subject, batch, material)
    if isinstance(subject.runtime, Splitting):
        windows = np.stack([window.samples for window in next(material.groups(batch))])
        told = [subject.runtime.split(windows) for _ in range(_RUNS)]
        if not told[0]:
            return {"unknown": f"{subject.name} runs as one part"}
        return {"parts_ms": {name: float(np.median([one[name] for one in told])) for name in told[0]}}
    return {"unknown": f"{subject.runtime.name} does not tell its parts for this bundle"}


def _cut(bundle: Bundle, subject: Subject, batch: int, material: Material) -> dict[str, Any]:
    """The frontend alone, as a graph of its own, in turns with the whole graph."""
    try:
        import onnx
        from onnx.utils import Extractor
    except ImportError:
        return {"unknown": "the share of the frontend needs onnx to cut the graph: pip install onnx"}
    from edgebird.runtimes.ort_session import session_of

    card = bundle.card
    model = Extractor(onnx.load_model(bundle.model(subject.precision)))
    frontend_graph = model.extract_model([card.input.name], list(card.images)).SerializeToString()
    part = session_of(frontend_graph, threads=subject.threads, frugal=True)
    windows = np.stack([window.samples for window in next(material.groups(batch))])
    inputs = {card.input.name: windows}
    steps = [lambda: subject.runtime.infer(windows), lambda: part.run(None, inputs)]
    whole, frontend = take_turns(steps, _DURATION)
    frontend_ms, whole_ms = float(np.median(frontend.samples)), float(np.median(whole.samples))
    return {
        "parts_ms": {"frontend": frontend_ms, "rest": whole_ms - frontend_ms},
        "frontend_share": frontend_ms / whole_ms,
    }
