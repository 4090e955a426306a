"""The head: a small network on the first fold's scores that says whether the full model would report anything.

The highest score alone says less: one label's scores rise in rain, another's never do. It learns the highest score of
the full model, as a probability: no labels are needed.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from edgebird.card import OPSET
from edgebird.export.cascade.learning import cross_entropy, learn, weights_of
from edgebird.export.graph import BATCH
from edgebird.types import FloatArray

_HIDDEN = 32
STEPS, _BATCH, _RATE, _DECAY = 1500, 256, 3e-3, 3e-2
_NOISE = 0.2  # of a feature's standard deviation: of few windows a head learns these, and not birds
_LEAST = 1e-4  # a lower score tells nothing more
_SPREAD = 1.0  # in logits, at least: of a label that was not heard here, little would be very much
_GRAPH = """head (float[{batch}, {classes}] scores) => (float[{batch}, 1] logit) {{
    kept = Clip (scores, least, most)
    rest = Sub (one, kept)
    odds = Div (kept, rest)
    logits = Log (odds)
    highest = ReduceMax <keepdims = 1> (logits, axes)
    features = Concat <axis = 1> (logits, highest)
    centred = Sub (features, mean)
    scaled = Mul (centred, scale)
    mixed = Gemm <transB = 1> (scaled, hidden_weight, hidden_bias)
    active = Relu (mixed)
    logit = Gemm <transB = 1> (active, last_weight, last_bias)
}}"""


class HeadNetwork(nn.Module):
    """Scores [batch, classes] -> logits [batch, 1]: one hidden layer on the scores' logits, and on the highest one."""

    mean: Tensor
    scale: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(classes + 1))
        self.register_buffer("scale", torch.ones(classes + 1))
        self.hidden = nn.Linear(classes + 1, _HIDDEN)
        self.last = nn.Linear(_HIDDEN, 1)

    def features(self, scores: Tensor) -> Tensor:
        """[batch, classes + 1], before they are centred and scaled."""
        logits = torch.logit(scores, _LEAST)
        return torch.cat((logits, logits.amax(dim=1, keepdim=True)), dim=1)

    def forward(self, scores: Tensor, noise: float = 0.0) -> Tensor:
        """See the class. noise: standard deviation of what is added to each feature, of its own one."""
        x = (self.features(scores) - self.mean) * self.scale
        x = x + noise * torch.randn_like(x) if noise else x
        logits: Tensor = self.last(torch.relu(self.hidden(x)))
        return logits

    def to_onnx(self) -> ModelProto:
        """The same as a graph, `scores` float32 [batch, classes] -> `logit` float32 [batch, 1]."""
        graph = onnx.parser.parse_graph(_GRAPH.format(batch=BATCH, classes=len(self.mean) - 1))
        constants = {"least": np.float32(_LEAST), "most": np.float32(1 - _LEAST), "one": np.float32(1)}
        learned = {name.replace(".", "_"): value.numpy() for name, value in self.state_dict().items()}
        for name, value in {**constants, "axes": np.array([1], np.int64), **learned}.items():
            graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        for node in graph.node:
            node.name = node.output[0]
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)
        model.producer_name = "edgebird"
        onnx.checker.check_model(model, full_check=True)
        return model


def fit_head(first: FloatArray, best: FloatArray, seed: int = 0) -> HeadNetwork:
    """Fit a head. first: the first fold's scores, [windows, classes]. best: the full model's highest, [windows]."""
    torch.manual_seed(seed)
    scores, wanted = torch.from_numpy(first), torch.from_numpy(np.ascontiguousarray(best, np.float32))
    network = HeadNetwork(first.shape[1])
    features = network.features(scores)
    network.mean.copy_(features.mean(dim=0))
    network.scale.copy_(1 / features.std(dim=0, correction=0).clamp(min=_SPREAD))
    weights = weights_of(wanted)

    def loss() -> Tensor:
        rows = torch.randint(len(scores), (_BATCH,))
        return cross_entropy(network(scores[rows], _NOISE)[:, 0], wanted[rows], weights[rows])

    learn(network.parameters(), loss, STEPS, _RATE, _DECAY)
    return network.eval()
