"""Detections as a person in a terminal reads them."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from edgebird.events import Event, encodable, timestamp
from edgebird.sinks import Memory, Recorded, Sink


class TerminalSink(Sink):
    """A heading for each recording, or where the source changes, and a line for each detection, as they come."""

    name = "stdout"

    def __init__(self, console: Console) -> None:
        self._console = console
        self._source: str | None = None

    def begin(self, recording: Recorded) -> None:
        """Print its name, and when it was made."""
        started = timestamp(recording.origin, 0, recording.rate)
        self._head(recording.origin.name, f"  {started}" if started else "")

    def take(self, event: Event, memory: Memory | None) -> None:
        """Print a detection."""
        if event["event"] == "detection":
            if event["source"] != self._source:
                self._head(event["source"])
            self._print(_line(event))

    def _head(self, source: str, more: str = "") -> None:
        self._source = source
        self._print(Text(encodable(source) + more, style="bold"))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


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
