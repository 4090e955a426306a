"""INT8 and FP16: convolutions in INT8 as int8.py chooses them, and the rest of the backbone in FP16 as in fp16.py.

    x (float16) -> Cast -> Sub shift -> QuantizeLinear -> DequantizeLinear -> Cast -> Conv (float16) -> Add border

For a GPU, where the rest in FP32 would take longer than all of it in FP16. Scales are float32: at opset 18 Q and DQ
take no others. So casts stand before and behind each pair, and behind the DQ of weights. TensorRT-RTX computes these
convolutions with int8 inputs and weights all the same (docs/precision.md); an engine that has no such convolution
computes it in float16. The shift is subtracted in float32, for its dither is finer than float16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from onnx import ModelProto

from edgebird.export.precisions.backbone import Fp32Graph, low_share
from edgebird.export.precisions.fp16 import mixed_graph, rounded_graph, unfit_nodes
from edgebird.export.precisions.gate import Candidate
from edgebird.export.precisions.int8 import Chosen, choices
from edgebird.export.precisions.qdq import Quantized, border_nodes, quantized_graph
from edgebird.types import FloatArray

NAME = "int8+fp16"


def to_int8_fp16(
    fp32: Fp32Graph, calibration: FloatArray, golden: FloatArray, tell: Callable[[str], None] = lambda _line: None
) -> Iterator[Candidate]:
    """Convert the finished FP32 graph. calibration, golden: real audio, float32 [windows, samples], run in groups.

    Of the golden windows nothing is taken but the ranges that FP16 must hold; INT8 never sees them.
    """
    kept: dict[str, str] | None = None
    for choice in choices(fp32, calibration, tell):
        if kept is None:
            kept = unfit_nodes(fp32, np.concatenate([golden, calibration]))
        share = low_share(fp32.model, choice.low)
        tell(f"{NAME} {len(choice.low)} convolutions, {share:.0%} of the multiplications, in INT8, the rest in FP16")
        yield _candidate(fp32, choice, kept)


def _candidate(fp32: Fp32Graph, choice: Chosen, kept: Mapping[str, str]) -> Candidate:
    """kept: nodes that FP16 would harm -> why. One of them that is in INT8 gives float32."""
    model, low = fp32.model, choice.low
    halved = fp32.backbone.keys() - kept.keys()
    made = combined_graph(model, low, halved)
    return Candidate(
        precision=NAME,
        model=made,
        ways={"computed in FP32": made, "rounded": rounded_graph(made)},
        blocks=fp32.backbone,
        restored=lambda nodes: rounded_graph(
            combined_graph(model, {name: low[name] for name in low.keys() - nodes}, halved - nodes)
        ),
        kept=kept,
        share=low_share(model, halved | low.keys()),
        costs={name: choice.costs[name] for name in low},
    )


def combined_graph(model: ModelProto, low: Mapping[str, Quantized], halved: frozenset[str] | set[str]) -> ModelProto:
    """The finished FP32 graph with the convolutions `low` in INT8 and the nodes named `halved` in float16."""
    behind = (border_nodes(node) for node in model.graph.node if node.name in low and node.name in halved)
    return mixed_graph(quantized_graph(model, low), halved.union(*behind), NAME)
