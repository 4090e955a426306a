"""Operators of images. TensorFlow has them [batch, height, width, channels], ONNX with the channels first."""

from __future__ import annotations

from collections.abc import Sequence

from edgebird.errors import ExportError
from edgebird.export.adopt.tflite.folding import Array, Shape
from edgebird.export.adopt.tflite.network import Data
from edgebird.export.adopt.tflite.operators import Conversion, Emit

_SAME = 0  # the number of a padding that keeps the size, but for strides
_Pads = tuple[int, int, int, int]  # above, left, below, right


def _pads(
    call: Conversion, image: Data, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> _Pads:
    """What is added around an image. As TensorFlow reckons it: the odd one is below and right."""
    if int(call.options["padding"]) != _SAME:
        return (0, 0, 0, 0)
    both = []
    for size, length, stride, dilation in zip(image.shape[1:3], kernel, strides, dilations, strict=True):
        if size < 0:
            raise ExportError("an image whose size depends on the batch")
        missing = max((-(-size // stride) - 1) * stride + (length - 1) * dilation + 1 - size, 0)
        both.append((missing // 2, missing - missing // 2))
    (above, below), (left, right) = both
    return (above, left, below, right)


def _size(image: Data, pads: _Pads, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Shape:
    """Height and width of what comes out."""
    added = (pads[0] + pads[2], pads[1] + pads[3])
    return tuple(
        (size + more - (length - 1) * dilation - 1) // stride + 1
        for size, more, length, stride, dilation in zip(
            image.shape[1:3], added, kernel, strides, dilations, strict=True
        )
    )


def _convolution(call: Conversion, weights: Array, groups: int) -> Data:
    """weights: [outputs, inputs of a group, height, width]."""
    image, net, options = call.data(), call.net, call.options
    kernel = weights.shape[2:]
    strides = (int(options["strideH"]), int(options["strideW"]))
    dilations = (int(options.get("dilationHFactor", 1)), int(options.get("dilationWFactor", 1)))
    if image.padded and int(options["padding"]) != _SAME:
        image, pads = image.padded
    else:
        pads = _pads(call, image, kernel, strides, dilations)
    inputs = [net.channels_first(image), net.constant(weights, f"{call.name}/weight")]
    if len(call.inputs) > 2 and call.inputs[2] is not None:
        inputs.append(net.constant(call.constant(2), f"{call.name}/bias"))
    made = net.node(
        "Conv", inputs, call.name, kernel_shape=kernel, strides=strides, dilations=dilations, pads=pads, group=groups
    )
    height, width = _size(image, pads, kernel, strides, dilations)
    one, other = ((shape[0], height, width, len(weights)) for shape in image.shapes)
    return call.activated(Data(made, (one, other), first=True))


def _conv2d(call: Conversion) -> Data:
    weights = call.constant(1).transpose(0, 3, 1, 2)
    channels = call.data().shapes[0][3]
    if channels % weights.shape[1]:
        raise ExportError(f"a convolution of {weights.shape[1]} channels over an image of {channels}")
    return _convolution(call, weights, channels // weights.shape[1])


def _depthwise(call: Conversion) -> Data:
    weights = call.constant(1).transpose(3, 0, 1, 2)
    return _convolution(call, weights, call.data().shapes[0][3])


def _pool(operator: str) -> Emit:
    def emit(call: Conversion) -> Data:
        image, net, options = call.data(), call.net, call.options
        kernel = (int(options["filterHeight"]), int(options["filterWidth"]))
        strides = (int(options["strideH"]), int(options["strideW"]))
        pads = _pads(call, image, kernel, strides, (1, 1))
        made = net.node(
            operator, [net.channels_first(image)], call.name, kernel_shape=kernel, strides=strides, pads=pads
        )
        height, width = _size(image, pads, kernel, strides, (1, 1))
        one, other = ((shape[0], height, width, shape[3]) for shape in image.shapes)
        return call.activated(Data(made, (one, other), first=True, positive=image.positive))

    return emit


def _pad(call: Conversion) -> Data:
    """Zeros around; a convolution that follows takes them along."""
    data, net, before_after = call.data(), call.net, call.constant(1)
    grown = [tuple(int(n + b + a) for n, (b, a) in zip(s, before_after, strict=True)) for s in data.shapes]
    order = (0, 3, 1, 2) if data.first else tuple(range(len(before_after)))
    pads = [int(before_after[axis][side]) for side in (0, 1) for axis in order]
    name = net.node("Pad", [data.name, net.indices(pads, "pads")], call.name)
    made = Data(name, (grown[0], grown[1]), data.first, positive=data.positive)
    if len(before_after) == 4 and not before_after[[0, 3]].any():
        (above, below), (left, right) = (map(int, pair) for pair in before_after[1:3])
        made.padded = (data, (above, left, below, right))
    return made


IMAGES: dict[str, Emit] = {
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "AVERAGE_POOL_2D": _pool("AveragePool"),
    "MAX_POOL_2D": _pool("MaxPool"),
    "PAD": _pad,
}
