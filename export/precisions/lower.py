"""From the finished FP32 graph to one of lower precision: converted, held to its tolerance, or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebird.bundle import GoldenData
from edgebird.errors import ParityError
from edgebird.export.families.family import Family
from edgebird.export.precisions.audio import HeldOut, Windows, read_calibration
from edgebird.export.precisions.backbone import Fp32Graph
from edgebird.export.precisions.fp16 import to_fp16
from edgebird.export.precisions.gate import Candidate, Fault, Known, judge, scorer
from edgebird.export.precisions.int8 import to_int8
from edgebird.parity import Parity, score_in_groups
from edgebird.types import FloatArray

Tell = Callable[[str], None]
_ENOUGH = 12  # windows held out, of one minute: with fewer a trained fold passed that failed on other audio
# Precision -> what makes it of the FP32 graph, the calibration windows and the golden windows: candidates, each more
# careful than the one before. It may tell how far it is. INT8 is fitted to what it sees, so it does not see the golden
# windows.
CONVERTERS: dict[str, Callable[[Fp32Graph, FloatArray, FloatArray, Tell], Iterable[Candidate]]] = {
    "fp16": lambda fp32, calibration, golden, _tell: [to_fp16(fp32, calibration, golden)],
    "int8": lambda fp32, calibration, _golden, tell: to_int8(fp32, calibration, tell),
}


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
    """A graph that passed. proofs: `golden, rounded` -> parity. parity: the worst on the golden windows.

    refused: how many candidates did not pass before it.
    """

    candidate: Candidate
    proofs: dict[str, Parity]
    refused: int

    @property
    def parity(self) -> Parity:
        """What the card keeps first: `verify` compares with the same windows."""
        return max((p for name, p in self.proofs.items() if name.startswith("golden")), key=lambda p: p.max_abs)


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """Real windows to calibrate with, and others that only prove."""

    calibration: Windows
    held_out: Windows


def read_recordings(paths: Sequence[Path], family: Family) -> Recordings:
    """See `read_calibration`."""
    return Recordings(*read_calibration(paths, family))


def lower(precision: str, fp32: Fp32Graph, golden: GoldenData, recordings: Recordings, tell: Tell) -> Lowered:
    """Convert the finished FP32 graph and prove the result on the golden windows and on those held out.

    Of several candidates it is the first that passes.

    The golden windows' scores are the original network's, those of the others the FP32 graph's. tell: takes a line per
    step. Raises ExportError, ParityError, ScoreError.
    """
    held_out, group = recordings.held_out, fp32.group
    if precision == "int8" and len(held_out.names) < _ENOUGH:
        tell(
            f"{precision:<9} held out {len(held_out.names)} windows beside the {len(golden.names)} golden ones: little "
            "to prove with; give --calibration recordings of the place where it will listen"
        )
    reference = score_in_groups(scorer(fp32.model), held_out.audio, group)
    evidence = [
        Known("golden", golden, group),
        Known("held out", HeldOut(held_out.audio, reference, held_out.names), group),
    ]
    candidates = CONVERTERS[precision](fp32, recordings.calibration.audio, golden.windows(), tell)
    faults: list[Fault] = []
    for candidate in candidates:
        if faults:
            tell(f"{precision:<9} refused: {faults[-1]}; now with fewer of its nodes")
        judged = judge(candidate, evidence)
        if not isinstance(judged, Fault):
            return Lowered(candidate, judged, len(faults))
        faults.append(judged)
    if not faults:
        raise ParityError(f"{precision} is not written: none of its nodes can be in it within the tolerance")
    raise faults[-1].error()
