"""Fourier transforms as products with constant matrices: no complex numbers, which few engines have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgebird.errors import ExportError
from edgebird.export.adopt.tflite.network import Data, Transform
from edgebird.export.adopt.tflite.operators import Conversion, Emit


def _transform(call: Conversion) -> Transform:
    """RFFT2D of frames [..., 1, size]: over one axis, as TensorFlow's short-time transform has it."""
    frames, length = call.data(), [int(size) for size in call.constant(1)]
    if length[0] != 1 or frames.shapes[0][-2:] != (1, length[1]):
        raise ExportError(f"a Fourier transform of {length} over frames of {list(frames.shapes[0][-2:])}")
    shapes = tuple((*shape[:-1], length[1] // 2 + 1) for shape in frames.shapes)
    return Transform(frames, length[1], (shapes[0], shapes[1]))


def _matrix(size: int, imaginary: bool) -> NDArray[np.float64]:
    """[size, bins]: what the real or the imaginary part of a transform is made with."""
    phase = 2 * np.pi * (np.outer(np.arange(size), np.arange(size // 2 + 1)) % size) / size
    wave: NDArray[np.float64] = -np.sin(phase) if imaginary else np.cos(phase)
    return wave


def _part(call: Conversion, imaginary: bool, name: str) -> Data:
    spectrum = call.inputs[0]
    assert isinstance(spectrum, Transform)
    made = call.net.product(spectrum.frames, _matrix(spectrum.size, imaginary), f"{name}/transform")
    return call.net.reshape(made, spectrum.shapes, name)


def _real(call: Conversion) -> Data:
    return _part(call, False, call.name)


def _imaginary(call: Conversion) -> Data:
    return _part(call, True, call.name)


def _magnitude(call: Conversion) -> Data:
    net, parts = call.net, [_part(call, which, f"{call.name}/{name}") for which, name in ((False, "re"), (True, "im"))]
    squares = [net.node("Mul", [part.name, part.name], f"{part.name}/square") for part in parts]
    total = net.node("Add", squares, f"{call.name}/power")
    return Data(net.node("Sqrt", [total], call.name), parts[0].shapes, positive=True)


def _cast(call: Conversion) -> Data:
    """Of complex numbers to real ones: TensorFlow takes the real part. Other casts have constants alone."""
    if not isinstance(call.inputs[0], Transform):
        raise ExportError("a CAST of what depends on the audio")
    return _real(call)


SPECTRA: dict[str, Emit] = {
    "RFFT2D": _transform,
    "CAST": _cast,
    "REAL": _real,
    "IMAG": _imaginary,
    "COMPLEX_ABS": _magnitude,
}
