"""INT8: as many of the backbone's convolutions as the tolerance allows, chosen by what each does to the scores.

Each convolution is rounded by itself (rounding.py), and its effect on the scores measured. Errors of different
convolutions add up as variances do, so those come first that cost least for the multiplications they bring; how many
is found by measuring all of them together, on other windows than they were rounded with. These are few, which is why
only half of the tolerance is used up. What proves the result is never seen here; if it refuses it, less is used up, and
the rest is as before. What is not chosen stays in FP32, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from onnx import NodeProto

from edgebird.export.precisions.audio import varied
from edgebird.export.precisions.backbone import Fp32Graph, low_share
from edgebird.export.precisions.gate import Candidate
from edgebird.export.precisions.nodes import geometry
from edgebird.export.precisions.qdq import Quantized, quantized_graph
from edgebird.export.precisions.rounding import Range, choose_range, round_kernel
from edgebird.export.precisions.stepwise import Stepwise, Values
from edgebird.export.precisions.trial import Trial
from edgebird.types import FloatArray

# Of the tolerance: other windows were up to 2.5 times as far off as the worst it was chosen with. The smaller ones are
# for what was refused.
MARGINS = (0.5, 0.25, 0.12, 0.06)
# Windows to take ranges from, to round with, and to choose with: as recorded at the most, and made of them.
_SEEN, _ROUND, _CHOOSE = (48, 150), (12, 12), (12, 8)
_AT_ONCE = 8  # windows that ranges are taken from, whole groups


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The convolutions that are in INT8 together, each as it is rounded.

    Of every one that was tried, costs: root mean square of the score differences that it alone causes; shares: of the
    multiplications.
    """

    low: Mapping[str, Quantized]
    costs: Mapping[str, float]
    shares: Mapping[str, float]


class Choices:
    """What fits within each margin, if it is another than within the last; none if not one convolution fits.

    It takes minutes, so it is kept, for all precisions that begin with it.
    """

    def __init__(self, fp32: Fp32Graph, calibration: FloatArray, tell: Callable[[str], None]) -> None:
        self.calibration = calibration
        self._found: list[Chosen] = []
        self._left = _choose(fp32, calibration, tell)

    def __iter__(self) -> Iterator[Chosen]:
        yield from self._found
        for choice in self._left:
            self._found.append(choice)
            yield choice


def choices(fp32: Fp32Graph, calibration: FloatArray, tell: Callable[[str], None]) -> Iterable[Chosen]:
    """Those of a graph, found once. calibration: real audio, float32 [windows, samples], run in groups."""
    known: Choices | None = fp32.shared.get("int8")
    if known is None or known.calibration is not calibration:
        known = fp32.shared["int8"] = Choices(fp32, calibration, tell)
    return known


def to_int8(
    fp32: Fp32Graph, calibration: FloatArray, tell: Callable[[str], None] = lambda _line: None
) -> Iterator[Candidate]:
    """Convert the finished FP32 graph, once for each of its `choices`."""
    for choice in choices(fp32, calibration, tell):
        yield _candidate(fp32, choice)


def _choose(fp32: Fp32Graph, calibration: FloatArray, tell: Callable[[str], None]) -> Iterator[Chosen]:
    network, group = Stepwise(fp32), fp32.group
    network.require_same(calibration[:group])
    with torch.inference_mode():
        ranges = _ranges(network, _windows(calibration[::2], *_SEEN, group))
        quantized = _calibrated(network, _windows(calibration[::2], *_ROUND, group), ranges, tell)
        others = calibration[1::2] if len(calibration) > 1 else calibration
        trial = Trial(network, quantized, _windows(others, *_CHOOSE, group))
        costs = trial.costs(tell)
        shares = {name: low_share(fp32.model, {name}) for name in quantized}
    ordered = sorted(quantized, key=lambda name: costs[name] ** 2 / shares[name])
    before: tuple[str, ...] = ()
    for margin in MARGINS:
        with torch.inference_mode():
            chosen = trial.most(ordered, margin, tell)
        if not chosen:
            return
        if chosen != before:
            before = chosen
            yield Chosen({name: quantized[name] for name in chosen}, costs, shares)


def _candidate(fp32: Fp32Graph, choice: Chosen) -> Candidate:
    """The graph with these convolutions in INT8."""
    model, low, costs, shares = fp32.model, choice.low, choice.costs, choice.shares
    made = quantized_graph(model, low)
    return Candidate(
        precision="int8",
        model=made,
        ways={"quantized": made},
        blocks=fp32.backbone,
        restored=lambda nodes: quantized_graph(model, {n: q for n, q in low.items() if n not in nodes}),
        kept={
            name: f"alone it moves scores by {costs[name]:.1e}, for {shares[name]:.1%} of the multiplications"
            for name in costs
            if name not in low
        },
        share=low_share(model, low),
        costs={name: costs[name] for name in low},
    )


def _windows(audio: FloatArray, most: int, made: int, group: int) -> FloatArray:
    """Windows as they were recorded, `most` at the most, and `made` variations; whole groups of them."""
    real = audio[:: -(-len(audio) // most)]
    count = -(-(len(real) + made) // group) * group
    return np.concatenate([real, varied(audio, count - len(real), seed=made)])


# --------------------------------------------------------------------------------------------------------- calibration
def _ranges(network: Stepwise, audio: FloatArray) -> dict[str, Range]:
    """Tensor that convolutions read -> its range. audio: [windows, samples].

    Of many windows: what one has beyond them is cut off, and such errors do not average out over its map.
    """
    ends = {node.input[0]: (np.inf, -np.inf) for node in network.convolutions}

    def look(node: NodeProto, values: Values) -> None:
        name = node.input[0]
        if name in ends:
            low, high = ends[name]
            ends[name] = min(low, float(values[name].min())), max(high, float(values[name].max()))

    for start in range(0, len(audio), _AT_ONCE):
        network.walk(network.images(audio[start : start + _AT_ONCE]), look)
    return {name: choose_range(torch.tensor(its)) for name, its in ends.items()}


def _calibrated(
    network: Stepwise, audio: FloatArray, ranges: Mapping[str, Range], tell: Callable[[str], None]
) -> dict[str, Quantized]:
    """Every convolution in INT8, each by itself: in order of the graph. audio: [windows, samples]."""
    quantized: dict[str, Quantized] = {}

    def quantize(node: NodeProto, values: Values) -> None:
        if node not in network.convolutions:
            return
        name = node.input[0]
        kernel = round_kernel(*network.kernel(node), values[name], ranges[name], geometry(node))
        quantized[node.name] = Quantized(ranges[name], kernel)
        if len(quantized) % 10 == 0 or len(quantized) == len(network.convolutions):
            tell(f"int8      {len(quantized)} of {len(network.convolutions)} convolutions rounded")

    network.walk(network.images(audio), quantize)
    return quantized
