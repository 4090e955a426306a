"""Who computes the golden scores: not the engines that are proven with them.

A .tflite file by LiteRT, an .onnx file by ONNX Runtime without any optimisation: operators one by one, as they stand in
the file. Both score one window at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from edgebird.errors import ExportError, NotInstalledError
from edgebird.machine import installed_version
from edgebird.runtimes.ort_session import session_of
from edgebird.types import FloatArray


class Reference(Protocol):
    """name: as the card has it, `float32, LiteRT 2.3.0`."""

    name: str

    def output(self, windows: FloatArray) -> FloatArray:
        """The output that is scored, of windows [n, ...] as the graph takes them: [n, classes]; no activation."""
        ...


class LiteRt:
    """A .tflite file in LiteRT. scores: the name of the output."""

    def __init__(self, path: Path, scores: str) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise NotInstalledError(f"a .tflite file needs LiteRT: pip install 'edgebird[adopt]' ({error})") from error
        self.name = f"float32, LiteRT {installed_version('ai-edge-litert')}"
        try:
            self._interpreter = Interpreter(str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ExportError(f"{path}: LiteRT refuses it: {str(error).strip().splitlines()[0]}") from error
        (source,) = self._interpreter.get_input_details()
        outputs = {its["name"]: its["index"] for its in self._interpreter.get_output_details()}
        self._input, self._output = source["index"], outputs[scores]

    def output(self, windows: FloatArray) -> FloatArray:
        """See `Reference`."""
        return np.concatenate([self._one(window) for window in windows])

    def _one(self, window: FloatArray) -> FloatArray:
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(window[None]))
        self._interpreter.invoke()
        found: FloatArray = self._interpreter.get_tensor(self._output).copy()
        return found


class PlainOrt:
    """An .onnx file in ONNX Runtime, not optimised. inputs: by name; each of several takes a column of its own."""

    def __init__(self, path: Path, scores: str, inputs: Sequence[str]) -> None:
        self.name = f"float32, ONNX Runtime {installed_version('onnxruntime')} without optimisation"
        self._session = session_of(path, threads=1, optimised=False)
        self._scores = scores
        self._ranks = {its.name: len(its.shape) for its in self._session.get_inputs() if its.name in inputs}
        self._inputs = tuple(inputs)

    def output(self, windows: FloatArray) -> FloatArray:
        """See `Reference`."""
        every = [self._session.run([self._scores], self._taken(window[None]))[0] for window in windows]
        return np.concatenate([values.reshape(1, -1) for values in every])

    def _taken(self, window: FloatArray) -> dict[str, FloatArray]:
        if len(self._inputs) == 1:
            return {self._inputs[0]: window}
        columns = zip(self._inputs, window.T, strict=True)
        return {name: column if self._ranks[name] == 1 else column[:, None] for name, column in columns}
