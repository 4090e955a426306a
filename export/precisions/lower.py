"""From the finished FP32 graph to one of lower precision: converted, held to its tolerance, or refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from edgebird.bundle import GoldenData
from edgebird.errors import ParityError, ScoreError
from edgebird.export.essentials import scorer
from edgebird.export.precisions.audio import Hearing, HeldOut, Windows, read_calibration
from edgebird.export.precisions.backbone import Fp32Graph
from edgebird.export.precisions.fp16 import to_fp16
from edgebird.export.precisions.gate import PART, PARTS, Candidate, Fault, Known, complaint, judge
from edgebird.export.precisions.int8 import to_int8
from edgebird.export.precisions.int8_fp16 import to_int8_fp16
from edgebird.parity import BF16_OF, TOLERANCES, Parity, prove, score_in_groups
from edgebird.runtimes.outputs import Score
from edgebird.types import FloatArray

Tell = Callable[[str], None]
# A precision that an engine makes of a graph, and the graph -> what scores with it on this machine, None if nothing.
Engine = Callable[[str, ModelProto], AbstractContextManager[Score | None]]
ENOUGH = 60  # windows held out: of fewer without a fault, more than one in twenty may be beyond the tolerance
_SHARE = 3  # every third recording given is held out
# Precision -> what makes it of the FP32 graph, the calibration windows and the golden windows: candidates, each more
# careful than the one before. It may tell how far it is. INT8 is fitted to what it sees, so it does not see the golden
# windows.
CONVERTERS: dict[str, Callable[[Fp32Graph, FloatArray, FloatArray, Tell], Iterable[Candidate]]] = {
    "fp16": lambda fp32, calibration, golden, _tell: [to_fp16(fp32, calibration, golden)],
    "int8": lambda fp32, calibration, _golden, tell: to_int8(fp32, calibration, tell),
    "int8+fp16": to_int8_fp16,
}


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What came out for a precision that an engine makes of a graph, `int8+bf16`, when it was held to the evidence.

    proofs: `golden, int8+bf16` -> parity, up to the first that failed; {} where no engine here makes it. refused: why
    it must not be run, "" if it passed.
    """

    precision: str
    proofs: dict[str, Parity]
    refused: str


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    """A graph that passed. proofs: `golden, rounded` -> parity. refused: how many candidates did not pass before it.

    made: what engines make of it.
    """

    candidate: Candidate
    proofs: dict[str, Parity]
    refused: int
    made: tuple[Made, ...] = ()

    @property
    def parity(self) -> Parity:
        """What the card keeps first: the worst on the golden windows, with which `verify` compares."""
        return max((self.proofs[f"golden, {way}"] for way in self.candidate.ways), key=lambda parity: parity.max_abs)


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """Real windows to calibrate with, and others, of other recordings, that only prove. window_s: length of each."""

    calibration: Windows
    held_out: Windows
    window_s: float

    def require_enough(self, precision: str) -> None:
        """Raise ParityError, saying how much is missing, unless enough is held out to prove a precision."""
        missing = ENOUGH - len(self.held_out.names)
        if missing > 0:
            minutes = math.ceil(missing * self.window_s * _SHARE / 60)
            raise ParityError(
                f"{precision} is not written: {len(self.held_out.names)} windows that nothing was calibrated with "
                f"cannot prove it, {ENOUGH} can: give {minutes} more minutes of --calibration, in three or more "
                "recordings (every third is held out)"
            )


def read_recordings(paths: Sequence[Path], family: Hearing, tell: Tell) -> Recordings:
    """See `read_calibration`."""
    return Recordings(*read_calibration(paths, family, tell), family.window_samples / family.sample_rate)


def evidence(fp32: Fp32Graph, golden: GoldenData, held_out: Windows, codes: tuple[str, ...]) -> list[Known]:
    """What every lower precision is held to: the golden windows, with the original network's scores, and those held
    out, with those of the FP32 graph. codes: of the classes.
    """
    proving = HeldOut(held_out.audio, score_in_groups(scorer(fp32.model), held_out.audio, fp32.group), held_out.names)
    return [
        Known("golden", golden, fp32.group, len(set(golden.recordings)), codes),
        Known("held out", proving, fp32.group, held_out.recordings, codes),
    ]


def nothing_made(_precision: str, _model: ModelProto) -> AbstractContextManager[Score | None]:
    """An `Engine` for a machine that makes no precision of its own."""
    return nullcontext()


def lower(
    precision: str, fp32: Fp32Graph, known: Sequence[Known], recordings: Recordings, tell: Tell, engine: Engine
) -> Lowered:
    """Convert the finished FP32 graph and prove the result on all evidence; then what is made of it here (engine).

    Of several candidates it is the first that passes. tell: takes a line per step. Raises ExportError, ParityError,
    ScoreError.
    """
    recordings.require_enough(precision)
    golden = known[0].evidence.windows()
    faults: list[Fault] = []
    for candidate in CONVERTERS[precision](fp32, recordings.calibration.audio, golden, tell):
        if faults:
            tell(f"{precision:<9} refused: {faults[-1]}; now with fewer of its nodes")
        judged = judge(candidate, known)
        if not isinstance(judged, Fault):
            return Lowered(candidate, judged, len(faults), judge_made(precision, candidate.model, known, engine))
        faults.append(judged)
    if not faults:
        raise ParityError(f"{precision} is not written: none of its nodes can be in it within the tolerance")
    raise faults[-1].error()


def judge_made(precision: str, model: ModelProto, known: Sequence[Known], engine: Engine) -> tuple[Made, ...]:
    """What engines make of the graph of a precision, each held to its own tolerance."""
    found = []
    for name in (name for name, graph in BF16_OF.items() if graph == precision):
        with engine(name, model) as score:
            found.append(_judged(name, score, known) if score else Made(name, {}, ""))
    return tuple(found)


def _judged(name: str, score: Score, known: Sequence[Known]) -> Made:
    proofs: dict[str, Parity] = {}
    for its in known:
        try:
            proof = prove(score, its.evidence, (its.group,), TOLERANCES[name], its.group)
        except ScoreError as error:
            return Made(name, proofs, str(error))
        proofs[f"{its.name}, {name}"] = proof.parity
        if told := complaint(proof, its, PARTS.get(name, PART)):
            return Made(name, proofs, told)
    return Made(name, proofs, "")
