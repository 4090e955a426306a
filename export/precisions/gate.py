"""The gate: a graph of lower precision is held to its tolerance on real audio, and never written when it fails.

Other audio may be worse than the worst of the evidence, the more so for a graph that was fitted to audio. So of the
tolerance only a part may be used up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto

from edgebird.errors import ParityError, ScoreError
from edgebird.export.essentials import scorer
from edgebird.parity import TOLERANCES, Evidence, Parity, Proof, prove

_SUSPECTS = 3
_FEW_WINDOWS = 12
PARTS = {"int8": 0.8, "int8+bf16": 0.8, "int8+fp16": 0.8}  # of the tolerance, of what is fitted to audio
PART = 0.9  # and of the others


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Evidence that a candidate is held to. name: of where it comes from, `golden` or `held out`. group: windows that
    are scored at once (those that share a floor). recordings: how many the windows are of, 0 if nobody counted. codes:
    of the classes, to be told; none: their numbers are.
    """

    name: str
    evidence: Evidence
    group: int
    recordings: int = 0
    codes: tuple[str, ...] = ()


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

    told: what is wrong with the scores.
    """

    candidate: Candidate
    way: str
    known: Known
    window: int
    told: str

    def __str__(self) -> str:
        return self.told

    def error(self) -> ParityError:
        """The same with the blocks that cause most of it, which takes a while."""
        suspects = _suspects(self.candidate, self.known, self.window)
        return ParityError(
            f"{self.candidate.precision} ({self.way}) is not written: {self}; suspected: {suspects}; export without "
            "it, or give --calibration recordings that are like this window"
        )


def judge(candidate: Candidate, evidence: Sequence[Known]) -> dict[str, Parity] | Fault:
    """Parity of every way on every evidence, `golden, rounded` -> parity, or the first that does not pass."""
    proofs = {}
    name = candidate.precision
    for way, model in candidate.ways.items():
        score = scorer(model)
        for known in evidence:
            try:
                proof = prove(score, known.evidence, (known.group,), TOLERANCES[name], known.group)
            except ScoreError as error:
                first = error.windows[0]
                where = f"{known.name} window {known.evidence.names[first]!r}"
                told = f"scores of {len(error.windows)} windows are not finite, first {where}"
                return Fault(candidate, way, known, first, told)
            if told := complaint(proof, known, PARTS.get(name, PART)):
                return Fault(candidate, way, known, proof.worst, told)
            proofs[f"{known.name}, {way}"] = proof.parity
    return proofs


def complaint(proof: Proof, known: Known, part: float = PART) -> str:
    """What is wrong with the scores, and in how many windows; "" if they pass with a part of the tolerance."""
    parity, allowed = proof.parity, proof.tolerance
    told = f"{proof.explain(known.name, known.codes)}, {parity.beyond} of {parity.windows} windows beyond"
    if not proof.passed:
        return told
    p99 = parity.p99
    if _FEW_WINDOWS * known.evidence.scores.shape[1] <= 100:  # of a dozen windows the largest difference is the 99 %
        p99 = parity.window_p99 if part < PART else parity.window_p99 * part
    if parity.max_abs > part * allowed.max or p99 > part * allowed.p99:
        return f"too close to the tolerance ({part:.0%} of it may be used up, as other audio may be worse): {told}"
    return ""


def _suspects(candidate: Candidate, known: Known, worst: int) -> str:
    """The blocks that bring the worst window closest when they alone are in FP32 again, and how close."""
    start = worst // known.group * known.group
    windows = slice(start, start + known.group)
    audio, wanted = known.evidence.windows()[windows], known.evidence.scores[windows]
    left = {}
    for block in dict.fromkeys(candidate.blocks.values()):
        members = frozenset(name for name, its in candidate.blocks.items() if its == block)
        scores = scorer(candidate.restored(members))(audio)
        left[block] = float(np.abs(scores - wanted).max())
    ranked = sorted(left.items(), key=lambda item: (not np.isfinite(item[1]), item[1]))[:_SUSPECTS]
    return ", ".join(f"{block} ({rest:.2g} with it in FP32)" for block, rest in ranked)
