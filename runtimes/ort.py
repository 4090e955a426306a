"""ONNX Runtime."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

import numpy as np

from edgebird.bundle import Bundle
from edgebird.card import Card
from edgebird.errors import RuntimeUnavailableError
from edgebird.machine import usable_cores
from edgebird.runtimes import Runtime, RuntimeOptions
from edgebird.runtimes.contract import check_graph, check_open, check_windows, to_scores, warm_up_windows
from edgebird.types import FloatArray

log = logging.getLogger(__name__)

_PROVIDERS = {"ort-cpu": ["CPUExecutionProvider"]}
# y = Identity(x), float32 [1], opset 13: the smallest model that shows that an engine runs.
_TINY = base64.b64decode("CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0=")


def session_of(model: bytes | Path, name: str = "ort-cpu", threads: int | None = None) -> Any:
    """An InferenceSession of the file or bytes of a graph, on the provider of runtime `name` and on no other.

    threads: None for all cores. Raises RuntimeUnavailableError if ONNX Runtime is missing or refuses.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise RuntimeUnavailableError(f"{name} needs ONNX Runtime: pip install 'edgebird[cpu]' ({error})") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = usable_cores() if threads is None else threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    wanted = _PROVIDERS[name]
    try:
        session = ort.InferenceSession(model if isinstance(model, bytes) else str(model), options, providers=wanted)
    except Exception as error:
        raise RuntimeUnavailableError(f"{name}: ONNX Runtime refuses the model: {_first_line(error)}") from error
    if session.get_providers()[: len(wanted)] != wanted:
        raise RuntimeUnavailableError(f"{name}: asked for {wanted}, ONNX Runtime took {session.get_providers()}")
    log.debug("ONNX Runtime %s, %s, %d threads", ort.__version__, wanted[0], options.intra_op_num_threads)
    return session


def _dtype(text: str) -> str:
    """`tensor(float)` -> `float32`; others as ONNX Runtime calls them."""
    return "float32" if text == "tensor(float)" else text


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


class OrtRuntime:
    """See `Runtime`. A graph with a fixed batch dimension is fed in pieces of that size, the last filled with zeros."""

    def __init__(self, session: Any, name: str, card: Card) -> None:
        self.name, self.card = name, card
        self._session = session
        self.provider: str = session.get_providers()[0]
        size = card.input.shape[0]
        self._fixed_batch = size if isinstance(size, int) else None

    def infer(self, windows: FloatArray) -> FloatArray:
        """[batch, window_samples] -> [batch, classes]; see `Runtime`."""
        check_open(self.name, self._session is not None)
        check_windows(windows, self.card)
        if self._fixed_batch is None:
            return to_scores(self._run(windows), len(windows), self.card)
        size = self._fixed_batch
        padded = np.pad(windows, ((0, -len(windows) % size), (0, 0)))
        output = np.concatenate([self._run(padded[i : i + size]) for i in range(0, len(padded), size)])
        return to_scores(output[: len(windows)], len(windows), self.card)

    def _run(self, windows: FloatArray) -> FloatArray:
        try:
            output: FloatArray = self._session.run([self.card.output.name], {self.card.input.name: windows})[0]
        except Exception as error:
            raise RuntimeUnavailableError(f"{self.name}: ONNX Runtime failed: {_first_line(error)}") from error
        return output

    def close(self) -> None:
        """Free the session."""
        self._session = None


def open_runtime(bundle: Bundle, name: str, options: RuntimeOptions) -> Runtime:
    """Open a graph of the bundle on the provider of runtime `name`, warmed up."""
    session = session_of(bundle.model(options.precision), name, options.threads)
    found = {t.name: (_dtype(t.type), t.shape) for t in (*session.get_inputs(), *session.get_outputs())}
    check_graph(str(bundle.model(options.precision)), found, bundle.card)
    runtime = OrtRuntime(session, name, bundle.card)
    for windows in warm_up_windows(options.batches or bundle.card.batches, bundle.card):
        runtime.infer(windows)
    return runtime


def probe(name: str) -> str:
    """Run a tiny model; the version of ONNX Runtime and the provider."""
    session = session_of(_TINY, name, threads=1)
    session.run(None, {"x": np.zeros(1, np.float32)})
    import onnxruntime as ort

    return f"ONNX Runtime {ort.__version__}, {session.get_providers()[0]}"
