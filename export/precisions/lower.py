"""From the finished FP32 graph to one of lower precision: converted, held to its tolerance, or refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from edgebird.bundle import GoldenData
from edgebird.errors import ParityError, ScoreError
from edgebird.export.families.family import Family
from edgebird.export.precisions.audio import HeldOut, Windows, read_calibration
from edgebird.export.precisions.backbone import Fp32Graph
from edgebird.export.precisions.fp16 import to_fp16
from edgebird.export.precisions.gate import Candidate, Fault, Known, Score, complaint, judge, scorer
from edgebird.export.precisions.int8 import to_int8
from edgebird.parity import BF16_OF, TOLERANCES, Parity, prove, score_in_groups
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
}


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    """A graph that passed. proofs: `golden, rounded` -> parity. refused: how many candidates did not pass before it."""

    candidate: Candidate
    proofs: dict[str, Parity]
    refused: int

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


def read_recordings(paths: Sequence[Path], family: Family, tell: Tell) -> Recordings:
    """See `read_calibration`."""
    return Recordings(*read_calibration(paths, family, tell), family.window_samples / family.sample_rate)


def evidence(fp32: Fp32Graph, golden: GoldenData, held_out: Windows) -> list[Known]:
    """What every lower precision is held to: the golden windows, with the original network's scores, and those held
    out, with those of the FP32 graph.
    """
    reference = score_in_groups(scorer(fp32.model), held_out.audio, fp32.group)
    return [
        Known("golden", golden, fp32.group, len(set(golden.recordings))),
        Known("held out", HeldOut(held_out.audio, reference, held_out.names), fp32.group, held_out.recordings),
    ]


def nothing_made(_precision: str, _model: ModelProto) -> AbstractContextManager[Score | None]:
    """An `Engine` for a machine that makes no precision of its own."""
    return nullcontext()


def lower(
    precision: str, fp32: Fp32Graph, known: Sequence[Known], recordings: Recordings, tell: Tell, engine: Engine
) -> Lowered:
    """Convert the finished FP32 graph and prove the result on all evidence; what is made of it here (engine) as well.

    Of several candidates it is the first that passes. tell: takes a line per step. Raises ExportError, ParityError,
    ScoreError.
    """
    recordings.require_enough(precision)
    golden = known[0].evidence.windows()
    faults: list[Fault] = []
    for candidate in CONVERTERS[precision](fp32, recordings.calibration.audio, golden, tell):
        if faults:
            tell(f"{precision:<9} refused: {faults[-1]}; now with fewer of its nodes")
        with _engines(candidate, engine) as engines:
            judged = judge(candidate, known, engines)
        if not isinstance(judged, Fault):
            return Lowered(candidate, judged, len(faults))
        faults.append(judged)
    if not faults:
        raise ParityError(f"{precision} is not written: none of its nodes can be in it within the tolerance")
    raise faults[-1].error()


@contextmanager
def _engines(candidate: Candidate, engine: Engine) -> Iterator[Mapping[str, Score]]:
    """What scores in the precision that is made of a candidate, if any is and this machine can."""
    made = [name for name, graph in BF16_OF.items() if graph == candidate.precision]
    if not made:
        yield {}
        return
    with engine(made[0], candidate.model) as score:
        yield {made[0]: score} if score else {}


def judge_made(fp32: Fp32Graph, known: Sequence[Known], engine: Engine) -> tuple[dict[str, Parity], str]:
    """Of bf16, made of the FP32 graph: its proofs, and why it is refused; both empty where nothing makes it."""
    proofs: dict[str, Parity] = {}
    with engine("bf16", fp32.model) as score:
        for its in known if score else ():
            assert score is not None
            try:
                proof = prove(score, its.evidence, (its.group,), TOLERANCES["bf16"], its.group)
            except ScoreError as error:
                return proofs, str(error)
            proofs[f"{its.name}, bf16"] = proof.parity
            if told := complaint(proof, its):
                return proofs, told
    return proofs, ""
