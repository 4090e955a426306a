"""Detections as a person in a terminal reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from rich.console import Console
from rich.text import Text

from edgebird.card import Card
from edgebird.detection import Result
from edgebird.events import Event, Events, encodable, timestamp
from edgebird.recordings import Take
from edgebird.sinks import Memory
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
                self._console.print(_line(events.tell(origin, result)), soft_wrap=True)

        events = Events(self._card.labels, self._card.sample_rate)
        yield take


class DetectionLines:
    """The same for the files of a station, as a sink: a heading where the source changes."""

    name = "stdout"

    def __init__(self, console: Console) -> None:
        self._console = console
        self._source: str | None = None

    def take(self, event: Event, memory: Memory | None) -> None:
        """Print a detection."""
        if event["event"] == "detection":
            if event["source"] != self._source:
                self._source = event["source"]
                self._console.print(Text(encodable(str(self._source)), style="bold"), soft_wrap=True)
            self._console.print(_line(event), soft_wrap=True)

    def tick(self) -> list[Event]:
        """Nothing waits."""
        return []

    def close(self) -> list[Event]:
        """The console stays open."""
        return []


def _line(event: Event) -> Text:
    return Text.assemble(
        f"  {_clock(event['start_s'])} - {_clock(event['end_s'])}  ",
        (f"{event['score']:.2f}", "green" if event["score"] >= 0.7 else "yellow"),
        f"  {event['common_name']} ",
        (f"({event['scientific_name']}, {event['code']})", "dim"),
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:d}:{minutes:02d}:{rest:04.1f}"
