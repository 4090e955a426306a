"""The stages of a cascade in OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgebird.bundle import Bundle
from edgebird.parity import BF16_OF
from edgebird.runtimes import RuntimeOptions
from edgebird.runtimes.contract import engine_errors
from edgebird.runtimes.ov_cut import parts_of
from edgebird.runtimes.ov_device import REFUSED, check_bf16, compiled_for, core_of, reason, settings_of
from edgebird.types import FloatArray

_NAME = "openvino"
_BACKBONES = ("first", "rest")  # parts that have some


class OpenVinoPart:
    """A graph, or its parts one behind the other: arrays in the order of its inputs -> what it gives.

    inputs: names. pieces: request, names that it takes, names that it gives; the last gives one alone.
    """

    def __init__(self, inputs: Sequence[str], pieces: Sequence[tuple[Any, Sequence[str], Sequence[str]]]) -> None:
        self._inputs, self._pieces = inputs, pieces

    def __call__(self, *arrays: FloatArray) -> FloatArray:
        """Compute it for one window."""
        values = dict(zip(self._inputs, arrays, strict=True))
        with engine_errors(_NAME, "OpenVINO failed", reason):
            for request, taken, given in self._pieces:
                found = request.infer([values[name] for name in taken])
                values.update((name, found[index]) for index, name in enumerate(given))
        return values[given[0]]


def open_stages(
    files: Mapping[str, Path], bundle: Bundle, options: RuntimeOptions, streams: int
) -> list[dict[str, OpenVinoPart]]:
    """Graphs of one window for each stream. All in float32, but for the backbones of a precision of BF16_OF.

    files: part -> graph; the gate, the head, and what makes the image, stay in float32.
    """
    core, device = core_of(_NAME)
    in_bf16 = options.precision in BF16_OF
    if in_bf16:
        check_bf16(core, device, _NAME)
    opened = {
        part: _compiled(core, path, bundle, options, in_bf16 and part in _BACKBONES) for part, path in files.items()
    }
    return [
        {
            part: OpenVinoPart(inputs, [(model.create_infer_request(), *names) for model, *names in pieces])
            for part, (inputs, pieces) in opened.items()
        }
        for _ in range(streams)
    ]


def _compiled(
    core: Any, path: Path, bundle: Bundle, options: RuntimeOptions, in_bf16: bool
) -> tuple[list[str], list[tuple[Any, list[str], list[str]]]]:
    """Names of a graph's inputs; its pieces, each with what it takes and gives."""
    with engine_errors(_NAME, REFUSED, reason):
        model = core.read_model(path)
        model.reshape({port: [1, *list(port.get_partial_shape())[1:]] for port in model.inputs})
        inputs = [port.get_any_name() for port in model.inputs]
        parts = parts_of(model, bundle) if in_bf16 else [(model, False)]
    pieces = []
    for part, is_backbone in parts:
        hint = "bf16" if is_backbone else "f32"
        settings = settings_of("CPU", options) | {"INFERENCE_PRECISION_HINT": hint}
        taken, given = ([port.get_any_name() for port in ports] for ports in (part.inputs, part.outputs))
        pieces.append((compiled_for(core, part, _NAME, settings), taken, given))
    return inputs, pieces
