"""The gate: a small network on the spectrogram image that says whether the full model would report anything.

It learns the highest score of each window, as a probability: no labels are needed. While it learns, it foretells the
score of every label too, so that it looks for birds, and not for what is beside them in few recordings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from torch import nn

from edgebird.card import OPSET
from edgebird.errors import ExportError
from edgebird.export.cascade.learning import cross_entropy, learn, weights_of
from edgebird.export.graph import BATCH
from edgebird.types import FloatArray

MOST_SHARE = 0.02  # of one fold's multiplications
_WIDTHS = ((12, 24, 48, 48), (8, 16, 32, 32), (6, 12, 24, 24), (4, 8, 16, 16), (2, 4, 8, 8), (1, 2, 4, 4))
EPOCHS, _BATCH, _RATE, _DECAY = 25, 48, 4e-3, 1e-2
LEAST_STEPS = 500  # of few windows
_EACH = 0.5  # how much the score of each label counts beside the highest one
_EPSILON = 1e-6
IN, OUT = "image", "logit"


class GateNetwork(nn.Module):
    """[batch, 1, H, W] -> logits [batch, 1]: four convolutions of stride 2, then maximum and mean over the map."""

    def __init__(self, widths: tuple[int, ...], mean: float, scale: float) -> None:
        super().__init__()
        before = (1, *widths[:-1])
        self.mean, self.scale = mean, scale
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 5 if a == 1 else 3, stride=2) for a, b in zip(before, widths, strict=True)
        )
        self.last = nn.Linear(2 * widths[-1], 1)

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """[batch, features]."""
        x = (image - self.mean) * self.scale
        for layer in self.layers:
            x = torch.relu(layer(x))
        return torch.cat((x.amax(dim=(2, 3)), x.mean(dim=(2, 3))), dim=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """See the class."""
        logits: torch.Tensor = self.last(self.features(image))
        return logits

    def multiplications(self, height: int, width: int) -> int:
        """For one image."""
        total, shape = 0, (height, width)
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            shape = tuple((size - layer.kernel_size[0]) // 2 + 1 for size in shape)  # type: ignore[assignment]
            if min(shape) < 1:
                raise ExportError(f"a gate needs a larger image than {height} x {width}")
            total += layer.weight.numel() * shape[0] * shape[1]
        return total + self.last.in_features


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """A gate that was fitted. share: of one fold's multiplications."""

    network: GateNetwork
    share: float

    def to_onnx(self, height: int, width: int) -> ModelProto:
        """The same as a graph, `image` float32 [batch, 1, H, W] -> `logit` float32 [batch, 1]."""
        return _graph(self.network, height, width)


def fit(images: NDArray[np.floating], scores: FloatArray, fold: int, seed: int = 0) -> Gate:
    """Fit the largest gate that is cheap enough.

    images: [windows, 1, H, W]. scores: the full model's, [windows, classes]. fold: multiplications of one fold for a
    window.
    Raises ExportError where even the smallest is too dear.
    """
    height, width = images.shape[2:]
    sample = images[:: max(1, len(images) // 256)].astype(np.float32)
    torch.manual_seed(seed)
    for widths in _WIDTHS:
        network = GateNetwork(widths, float(sample.mean()), 1 / max(float(sample.std()), _EPSILON))
        share = network.multiplications(height, width) / fold
        if share <= MOST_SHARE:
            _train(network, images, scores, seed)
            return Gate(network, share)
    raise ExportError(
        f"a cascade is not worth it: the smallest gate takes {share:.0%} of the fold's multiplications, "
        f"{MOST_SHARE:.0%} are allowed"
    )


def _train(network: GateNetwork, images: NDArray[np.floating], scores: FloatArray, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    wanted = torch.from_numpy(np.ascontiguousarray(scores, np.float32))
    best = wanted.amax(dim=1)
    weights = weights_of(best)
    each = nn.Linear(network.last.in_features, wanted.shape[1])  # of every label
    with torch.no_grad():
        each.bias.copy_(torch.logit(wanted.mean(dim=0), 1e-3))
    order = torch.empty(0, dtype=torch.long)

    def loss() -> torch.Tensor:
        nonlocal order
        if len(order) < min(_BATCH, len(images)):
            order = torch.randperm(len(images), generator=random)
        rows, order = order[:_BATCH], order[_BATCH:]
        batch = torch.from_numpy(images[rows.numpy()].astype(np.float32))
        features = network.features(_changed(batch, random))
        highest = cross_entropy(network.last(features)[:, 0], best[rows], weights[rows])
        return highest + _EACH * wanted.shape[1] * cross_entropy(each(features), wanted[rows], weights[rows, None])

    steps = max(LEAST_STEPS, EPOCHS * -(-len(images) // _BATCH))
    network.train()
    learn([*network.parameters(), *each.parameters()], loss, steps, _RATE, _DECAY)
    network.eval()


def _changed(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """As another recorder, on another day, would have them: of few recordings a gate learns these, and not birds.

    Rolled round along time, which is the longer side; half of them with another image, weaker, behind them; with
    another contrast, level and balance of the frequencies.
    """
    count, _, height, width = images.shape
    time, frequencies = (2, (1, 1, width)) if height > width else (3, (1, height, 1))
    spread = float(images.std())

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=random)

    images = torch.roll(images, int(torch.randint(images.shape[time], (1,), generator=random)), dims=time)
    weaker = 0.7 * torch.rand(count, 1, 1, 1, generator=random)
    behind = images[torch.randperm(count, generator=random)] * torch.where(weaker < 0.35, 2 * weaker, 0)
    images = torch.maximum(images, behind)
    images = images + spread * (0.3 * normal(1, 1, 1) + 0.2 * normal(*frequencies))
    return images * (1 + 0.15 * normal(1, 1, 1))


def _graph(network: GateNetwork, height: int, width: int) -> ModelProto:
    tensors = [
        helper.make_tensor("mean", TensorProto.FLOAT, [], [network.mean]),
        helper.make_tensor("scale", TensorProto.FLOAT, [], [network.scale]),
        helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3]),
    ]
    nodes = [helper.make_node("Sub", [IN, "mean"], ["centred"]), helper.make_node("Mul", ["centred", "scale"], ["map"])]
    last = "map"
    for index, layer in enumerate(network.layers):
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        for name, values in (("weight", layer.weight), ("bias", layer.bias)):
            tensors.append(onnx.numpy_helper.from_array(values.detach().numpy(), f"{index}.{name}"))
        names = [last, f"{index}.weight", f"{index}.bias"]
        kernel = [layer.kernel_size[0]] * 2
        nodes.append(helper.make_node("Conv", names, [f"conv.{index}"], kernel_shape=kernel, strides=[2, 2]))
        last = f"relu.{index}"
        nodes.append(helper.make_node("Relu", [f"conv.{index}"], [last]))
    for name, values in (("last.weight", network.last.weight), ("last.bias", network.last.bias)):
        tensors.append(onnx.numpy_helper.from_array(values.detach().numpy(), name))
    nodes += [
        helper.make_node("ReduceMax", [last, "axes"], ["max"], keepdims=0),
        helper.make_node("ReduceMean", [last, "axes"], ["average"], keepdims=0),
        helper.make_node("Concat", ["max", "average"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "last.weight", "last.bias"], [OUT], transB=1),
    ]
    for node in nodes:
        node.name = node.output[0]
    graph = helper.make_graph(
        nodes,
        "gate",
        [helper.make_tensor_value_info(IN, TensorProto.FLOAT, [BATCH, 1, height, width])],
        [helper.make_tensor_value_info(OUT, TensorProto.FLOAT, [BATCH, 1])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    model.producer_name = "edgebird"
    onnx.checker.check_model(model, full_check=True)
    return model
