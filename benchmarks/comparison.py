"""Two reports of the same machine and bundle: what became slower or faster, and how sure that is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgebird.benchmarks.figures import Ratio, ratio
from edgebird.benchmarks.machine import IDENTITY
from edgebird.benchmarks.report import FORMAT, Run, window_rounds
from edgebird.benchmarks.table import label
from edgebird.errors import EdgebirdError, UsageError
from edgebird.parity import BF16_OF

_SAME = ("runtime", "precision", "scenario", "batch", "streams", "hop_s", "threads")


@dataclass(frozen=True, slots=True)
class Compared:
    """A run and its earlier self. ratio: of the times of a window, above 1 where it is slower now."""

    name: str
    ratio: Ratio
    steady: bool

    def is_slower(self, limit: float) -> bool:
        """Whether it takes longer by more than `limit` (0.05 is 5 %), and that is no accident of these samples."""
        return self.ratio.value > 1 + limit and self.ratio.low > 1

    def to_json(self) -> dict[str, Any]:
        """As in the report."""
        return asdict(self)

    def __str__(self) -> str:
        change = self.ratio.value - 1
        sure = "no difference seen" if self.ratio.low <= 1 <= self.ratio.high else "slower" if change > 0 else "faster"
        noisy = "" if self.steady else "; one of the two was not steady"
        return (
            f"{self.name}: {change:+.1%} against the earlier report "
            f"(95 %: {self.ratio.low - 1:+.1%} to {self.ratio.high - 1:+.1%}), {sure}{noisy}"
        )


def limit_of(text: str | None, earlier: Path | None) -> float | None:
    """`5%` -> 0.05. Raises UsageError."""
    if text is None:
        return None
    if earlier is None:
        raise UsageError(f"--fail-if-slower {text}: than what? give an earlier report with --compare FILE")
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = math.nan
    if not 0 <= percent < math.inf:
        raise UsageError(f"--fail-if-slower {text!r}: wanted a percentage, such as 5%")
    return percent / 100


def read_report(path: Path) -> dict[str, Any]:
    """A report that `--json` wrote. Raises EdgebirdError if it is none."""
    try:
        report = json.loads(path.read_bytes())
        found, parts = report["format"], [report[key] for key in ("machine", "bundle", "audio", "runs")]
    except (ValueError, KeyError, TypeError) as error:
        raise EdgebirdError(f"{path}: not a report of `edgebird bench --json`: {error}") from error
    if found != FORMAT or not all(parts):
        raise EdgebirdError(f"{path}: report format {found!r}, this edgebird reads {FORMAT}: measure again")
    return dict(report)


def require_same_machine(machine: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    """Raise EdgebirdError, in words, if the earlier report is of another machine, or of this one set otherwise."""
    for key in IDENTITY:
        this, that = machine.get(key), earlier["machine"].get(key)
        if this != that:
            name = key.replace("_", " ")
            raise EdgebirdError(
                f"--compare: not the same machine: its {name} was {_told(that)} then and is {_told(this)} now; "
                "times of two machines say nothing of what changed"
            )


def require_same_audio(audio: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    """Raise EdgebirdError, in words, if the earlier report scored other recordings, or cut them otherwise."""
    for key, value in audio.items():
        this, that = (list(one) if key == "files" else one for one in (value, earlier["audio"].get(key)))
        if this != that:
            raise EdgebirdError(f"--compare: not the same audio: its {key} was {_told(that)} then and is {this!r} now")


def compare(now: Mapping[str, Any], earlier: Mapping[str, Any]) -> list[Compared]:
    """Every run that both have, in the order of `now`.

    Raises EdgebirdError, in words, if machine, settings, audio or graphs are others, or if they have no run in common.
    """
    require_same_machine(now["machine"], earlier)
    require_same_audio(now["audio"], earlier)
    before = {_identity(run): run for run in earlier["runs"] if "rounds" in run}
    timed = [run for run in now["runs"] if "rounds" in run]
    pairs = [(run, before[_identity(run)]) for run in timed if _identity(run) in before]
    for run, _ in pairs:
        graph = BF16_OF.get(run["precision"], run["precision"])
        this, that = (report["bundle"]["sha256"].get(graph) for report in (now, earlier))
        if this != that:
            raise EdgebirdError(f"--compare: not the same bundle: its {graph} graph was {that} then and is {this} now")
    if not pairs:
        had = ", ".join(f"{run['scenario']} {label(run)}" for run in earlier["runs"]) or "none"
        raise EdgebirdError(f"--compare: no run in common with the earlier report, which has {had}")
    return [_compared(run, then) for run, then in pairs]


def _identity(run: Run) -> tuple[Any, ...]:
    return tuple(run.get(key) for key in _SAME)


def _told(value: object) -> str:
    return "unknown" if value is None else repr(value)


def _compared(run: Run, before: Run) -> Compared:
    value = ratio(window_rounds(run), window_rounds(before), paired=False)
    steady = run["verdict"] == before["verdict"] == "STEADY"
    return Compared(f"{run['scenario']} {label(run)}", value, steady)
