"""Results as events: the JSON objects of `--format jsonl`, from which the tables are made too."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

from edgebird.calibration import Calibration
from edgebird.card import Card
from edgebird.pooling import Onset
from edgebird.types import Detection, Gap, Label, Origin, Rejected, Stopped, Summary

Event: TypeAlias = dict[str, Any]

_SURROGATES = re.compile("[\ud800-\udfff]")


def seconds(samples: int, rate: int) -> float:
    """Samples as seconds: exact at rates whose sample is a decimal of a second, such as 32000 Hz, else to 1 ns."""
    return round(samples / rate, 9)


def timestamp(origin: Origin, samples: int, rate: int) -> str | None:
    """When a sample of a source was heard: ISO 8601 with offset, to the millisecond; None where nobody knows."""
    moment = moment_of(origin, samples, rate)
    return None if moment is None else moment.isoformat(timespec="milliseconds")


def moment_of(origin: Origin, samples: int, rate: int) -> datetime | None:
    """When a sample of a source was heard, in the source's time zone; None where nobody knows."""
    if origin.started is None:
        return None
    # Through UTC: adding to a local time would be an hour off after a change to or from summer time.
    moment = origin.started.astimezone(timezone.utc) + timedelta(seconds=samples / rate)
    return moment.astimezone(origin.started.tzinfo)


def head(kind: str, origin: Origin, samples: int, rate: int) -> Event:
    """What every event begins with: its kind, its source, and the time of the sample it is about.

    `zone_assumed` says which time zone was taken for a recording that does not tell its own, `channel` which one of
    its channels was asked for; they are left out of all other events.
    """
    event: Event = {"event": kind, "source": origin.name, "time": timestamp(origin, samples, rate)}
    if origin.zone_assumed:
        event["zone_assumed"] = origin.zone_assumed
    if origin.channel:
        event["channel"] = origin.channel
    return event


def gap_event(origin: Origin, gap: Gap, rate: int) -> Event:
    """Return the event of audio that is missing."""
    span = {"start_s": seconds(gap.start, rate), "end_s": seconds(gap.end, rate)}
    return {**head("gap", origin, gap.start, rate), **span, "reason": gap.reason}


@dataclass(frozen=True, slots=True)
class Events:
    """Tells results as events.

    labels: those of the model, in its order. rate: of the model, in Hz. calibration: of its scores, if they have one.
    """

    labels: Sequence[Label]
    rate: int
    calibration: Calibration | None = None

    @classmethod
    def of(cls, card: Card) -> Events:
        """Return those of a model."""
        return cls(card.labels, card.sample_rate, card.calibration)

    def tell(self, origin: Origin, result: Detection | Rejected | Onset | Stopped | Gap | Summary) -> Event:
        """Return the event of a result of this source."""
        match result:
            case Detection():
                return self._detection(origin, result)
            case Onset():
                return self._candidate("onset", origin, result.candidate)
            case Rejected():
                return {
                    **self._candidate("rejected", origin, result.candidate),
                    "reason": result.reason,
                    **result.detail,
                }
            case Stopped():
                return self._stopped(origin, result)
            case Gap():
                return gap_event(origin, result, self.rate)
            case Summary():
                return self._summary(origin, result)

    def _detection(self, origin: Origin, detection: Detection) -> Event:
        """Tell a detection, with `probability` behind its score where that is known."""
        event = self._candidate("detection", origin, detection)
        if self.calibration and (curve := self.calibration.curves.get(event["code"])):
            windows = event.pop("windows")
            event |= {"probability": round(curve.probability(event["score"]), 4), "windows": windows}
        return event

    def _candidate(self, kind: str, origin: Origin, candidate: Detection) -> Event:
        label = self.labels[candidate.label]
        return {
            **head(kind, origin, candidate.start, self.rate),
            "start_s": seconds(candidate.start, self.rate),
            "end_s": seconds(candidate.end, self.rate),
            "code": label.code,
            "scientific_name": label.scientific_name,
            "common_name": label.common_name,
            "score": round(candidate.score, 6),
            "windows": candidate.windows,
        }

    def _stopped(self, origin: Origin, stopped: Stopped) -> Event:
        span = {"start_s": seconds(stopped.start, self.rate), "end_s": seconds(stopped.end, self.rate)}
        return {**head("stopped", origin, stopped.start, self.rate), **span, "stage": stopped.stage}

    def _summary(self, origin: Origin, summary: Summary) -> Event:
        further: Event = {} if summary.voices is None else {"voice_detections": summary.voices}
        further |= {f"stopped_{stage}": count for stage, count in (summary.stopped or {}).items()}
        total = summary.scored + summary.gap + summary.tail  # a summary is told at the end of its audio
        return {
            **head("summary", origin, total, self.rate),
            "wall_s": round(summary.wall_s, 3),
            "scored_s": seconds(summary.scored, self.rate),
            "gap_s": seconds(summary.gap, self.rate),
            "tail_s": seconds(summary.tail, self.rate),
            "windows": summary.windows,
            "detections": summary.detections,
            **further,
        }


def to_json(event: Event) -> str:
    """One line of strict JSON, without its newline; raises ValueError for a number that is not finite."""
    return encodable(json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def encodable(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a file name that are not UTF-8 become U+FFFD."""
    return _SURROGATES.sub("\ufffd", text)
