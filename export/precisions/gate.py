"""The gate: a graph of lower precision is held to its tolerance on real audio, and never written when it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from edgebird.errors import ParityError
from edgebird.export import graph
from edgebird.parity import TOLERANCES, Parity, compare, score_in_groups
from edgebird.runtimes.ort import session_of
from edgebird.types import FloatArray

_SUSPECTS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Real audio and the scores a graph must give: float32 [windows, samples], [windows, classes], what is heard.

    group: windows that are scored at once (those that share a floor).
    """

    name: str
    audio: FloatArray
    scores: NDArray[np.floating]
    windows: tuple[str, ...]
    group: int


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A graph in a lower precision, before it is proven.

    model: what is to be written. ways: how engines compute it -> a graph that ONNX Runtime computes in that way; all
    must pass. blocks: backbone node of the FP32 graph -> its block. restored: names of nodes -> the strictest way's
    graph with these nodes in FP32 as well. kept: backbone nodes that stay in FP32, and why. share: of a window's
    multiplications, how many are in the lower precision. costs: node in the lower precision -> root mean square of the
    score differences that it alone causes, if measured.
    """

    precision: str
    model: ModelProto
    ways: Mapping[str, ModelProto]
    blocks: Mapping[str, str]
    restored: Callable[[frozenset[str]], ModelProto]
    kept: Mapping[str, str] = field(default_factory=dict)
    share: float = 0.0
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """Why a candidate is refused. way: in which it was computed. known: the evidence. window: the worst, its index.

    told: what is wrong with the scores, up to `in ...`.
    """

    candidate: Candidate
    way: str
    known: Evidence
    window: int
    told: str

    def __str__(self) -> str:
        where = f"{self.known.name} window {self.window} ({self.known.windows[self.window]})"
        return f"{self.told} in {where}"

    def error(self) -> ParityError:
        """The same with the blocks that cause most of it, which takes a while."""
        suspects = _suspects(self.candidate, self.known, self.window)
        return ParityError(
            f"{self.candidate.precision} ({self.way}) is not written: {self}; suspected: {suspects}; export without "
            "it, or give --calibration recordings that are like this window"
        )


def scorer(model: ModelProto) -> Callable[[FloatArray], FloatArray]:
    """What scores windows [batch, samples] with the graph in ONNX Runtime -> [batch, classes]."""
    session = session_of(model.SerializeToString())

    def run(audio: FloatArray) -> FloatArray:
        scores: FloatArray = session.run([graph.OUTPUT], {graph.INPUT: audio})[0]
        return scores

    return run


def prove(candidate: Candidate, evidence: Sequence[Evidence]) -> dict[str, Parity] | Fault:
    """Parity of every way on every evidence, `golden, rounded` -> parity, or the first that does not pass."""
    proofs = {}
    for way, model in candidate.ways.items():
        score = scorer(model)
        for known in evidence:
            judged = _judge(candidate, way, known, score_in_groups(score, known.audio, known.group))
            if isinstance(judged, Fault):
                return judged
            proofs[f"{known.name}, {way}"] = judged
    return proofs


def _judge(candidate: Candidate, way: str, known: Evidence, scores: FloatArray) -> Parity | Fault:
    tolerance = TOLERANCES[candidate.precision]
    broken = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(broken):
        told = f"scores of {len(broken)} windows are not finite, first"
        return Fault(candidate, way, known, int(broken[0]), told)
    parity = compare(known.scores, scores, tolerance)
    if parity.passes(tolerance):
        return parity
    told = (
        f"scores differ by up to {parity.max_abs:.2g} (99 %: {parity.p99:.2g}; allowed {tolerance.max:g}, "
        f"{tolerance.p99:g}), the top label agrees in {parity.top1_agreement:.0%}; most"
    )
    return Fault(candidate, way, known, parity.worst_window, told)


def _suspects(candidate: Candidate, known: Evidence, worst: int) -> str:
    """The blocks that bring the worst window closest when they alone are in FP32 again, and how close."""
    start = worst // known.group * known.group
    windows = slice(start, start + known.group)
    left = {}
    for block in dict.fromkeys(candidate.blocks.values()):
        members = frozenset(name for name, its in candidate.blocks.items() if its == block)
        scores = scorer(candidate.restored(members))(known.audio[windows])
        left[block] = float(np.abs(scores - known.scores[windows]).max())
    ranked = sorted(left.items(), key=lambda item: (not np.isfinite(item[1]), item[1]))[:_SUSPECTS]
    return ", ".join(f"{block} ({rest:.2g} with it in FP32)" for block, rest in ranked)
