"""What convolutions in INT8 do to the scores of windows, alone and together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np
import torch
from onnx import NodeProto
from torch import Tensor

from edgebird.export.precisions.qdq import Quantized
from edgebird.export.precisions.stepwise import Component, Stepwise, Values
from edgebird.parity import TOLERANCES
from edgebird.types import FloatArray

_COSTS = 3  # every third window measures what each convolution costs alone
_MISSES = 8  # convolutions that do not fit any more, one after the other: then the rest is not tried
_AT_ONCE = 4  # windows that are computed together: one that is too far off spares the others
_KEPT = 2  # of each part and those windows, maps that are kept: with what was chosen, and with what is tried


class Trial:
    """Scores of windows with convolutions of a network in INT8, quantized, compared with those in FP32.

    audio: [windows, samples], whole groups. Of an ensemble only the networks whose convolutions changed are computed
    again.
    """

    def __init__(self, network: Stepwise, quantized: Mapping[str, Quantized], audio: FloatArray) -> None:
        self._network, self._quantized = network, quantized
        images = network.images(audio)
        starts = range(0, len(audio), _AT_ONCE)
        self._images = [{name: v[start : start + _AT_ONCE] for name, v in images.items()} for start in starts]
        self._parts = network.parts()
        self._maps: dict[tuple[int, int], dict[frozenset[str], Values]] = {}  # part, windows -> in INT8 -> maps
        self._reference = [self._scores(frozenset(), windows) for windows in range(len(starts))]
        self._order = list(range(len(starts)))  # those that were too far off last come first
        # Convolutions in INT8 -> largest, 99 % of one window; of what was too far off, of the windows up to there.
        self._measured: dict[frozenset[str], tuple[float, float]] = {}

    def costs(self, tell: Callable[[str], None]) -> dict[str, float]:
        """Convolution -> root mean square of the score differences that it alone causes."""
        found = {}
        images = {name: torch.cat([values[name] for values in self._images])[::_COSTS] for name in self._images[0]}
        maps = self._network.walk(images)
        reference = self._network.scores(maps)
        for part in self._parts:  # one after the other: all tensors are kept
            values = self._network.walk(images, keep_all=True, part=part)
            for node in part.convolutions:
                output = self._quantized[node.name].compute(node, values[node.input[0]])
                changed = self._network.with_output(values, node, output)
                scores = self._network.scores(maps | {name: changed[name] for name in part.maps})
                found[node.name] = float(np.sqrt(np.mean((scores - reference) ** 2)))
            tell(f"int8      effect of each on the scores: {len(found)} of {len(self._quantized)}")
        return {name: found[name] for name in self._quantized}

    def most(self, ordered: Sequence[str], margin: float, tell: Callable[[str], None]) -> tuple[str, ...]:
        """As many of the convolutions as stay within the margin together: the first, then whichever still fit.

        margin: of the tolerance, no more than in calls before.
        """
        fits, fails = 0, len(ordered) + 1
        while fails - fits > 1:
            count = (fits + fails) // 2
            fits, fails = (count, fails) if self._fits(ordered[:count], margin, tell) else (fits, count)
        chosen = tuple(ordered[:fits])
        misses = 0
        for name in ordered[fits + 1 :]:
            if misses == _MISSES:
                break
            if self._fits((*chosen, name), margin, tell):
                chosen, misses = (*chosen, name), 0
            else:
                misses += 1
        return chosen

    def _fits(self, names: Sequence[str], margin: float, tell: Callable[[str], None]) -> bool:
        """Whether every single window stays within the margin: what proves it may be a single one, like the worst."""
        together, allowed = frozenset(names), TOLERANCES["int8"]
        if together not in self._measured:
            self._measured[together] = self._off(together, margin * allowed.max, margin * allowed.p99)
        largest, p99 = self._measured[together]
        fits = largest <= margin * allowed.max and p99 <= margin * allowed.p99
        told = "" if fits else ", too far"
        tell(f"int8      {len(names)} convolutions: scores {largest:.2g} off (99 %: {p99:.2g}){told}")
        return fits

    def _off(self, names: frozenset[str], most: float, most_p99: float) -> tuple[float, float]:
        """How far scores are off with these convolutions in INT8: the largest, and the 99 % of the worst window. It
        ends with the first windows that are further off than allowed.
        """
        largest, p99 = 0.0, 0.0
        for windows in self._order:
            difference = np.abs(self._scores(names, windows) - self._reference[windows])
            largest = max(largest, float(difference.max()))
            p99 = max(p99, float(np.percentile(difference, 99, axis=1).max()))
            if largest > most or p99 > most_p99:
                self._order.remove(windows)
                self._order.insert(0, windows)
                break
        return largest, p99

    def _scores(self, names: frozenset[str], windows: int) -> FloatArray:
        """Scores of some windows with these convolutions in INT8."""
        maps: Values = {}
        for index, part in enumerate(self._parts):
            low = names.intersection(node.name for node in part.convolutions)
            kept = self._maps.setdefault((index, windows), {})
            found = kept.pop(low, None)
            if found is None:
                found = self._computed(part, low, windows)
                if len(kept) == _KEPT:
                    del kept[next(iter(kept))]
            kept[low] = found  # the last is the one used last
            maps |= found
        return self._network.scores(maps)

    def _computed(self, part: Component, low: Set[str], windows: int) -> Values:
        """Maps of a part with these of its convolutions in INT8."""

        def replace(node: NodeProto, values: Values) -> Tensor | None:
            return self._quantized[node.name].compute(node, values[node.input[0]]) if node.name in low else None

        values = self._network.walk(self._images[windows], replace, part=part)
        return {name: values[name] for name in part.maps}
