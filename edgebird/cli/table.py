"""Detections as a person in a terminal reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from rich.console import Console
from rich.text import Text

from edgebird.card import Card
from edgebird.detection import Result
from edgebird.events import encodable, timestamp
from edgebird.recordings import Take
from edgebird.types import Detection, Origin


class TableOutput:
    """A heading for each recording and a line for each detection, as they come."""

    def __init__(self, card: Card, console: Console) -> None:
        self._card, self._console = card, console

    @contextmanager
    def recording(self, origin: Origin, relative: PurePath) -> Iterator[Take]:
        """See `Output`."""
        started = timestamp(origin, 0, self._card.sample_rate)
        heading = encodable(origin.name) + (f"  {started}" if started else "")
        self._console.print(Text(heading, style="bold"), soft_wrap=True)

        def take(result: Result) -> None:
            if isinstance(result, Detection):
                self._console.print(self._line(result), soft_wrap=True)

        yield take

    def _line(self, detection: Detection) -> Text:
        label = self._card.labels[detection.label]
        rate = self._card.sample_rate
        return Text.assemble(
            f"  {_clock(detection.start / rate)} - {_clock(detection.end / rate)}  ",
            (f"{detection.score:.2f}", "green" if detection.score >= 0.7 else "yellow"),
            f"  {label.common_name} ",
            (f"({label.scientific_name}, {label.code})", "dim"),
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:d}:{minutes:02d}:{rest:04.1f}"
