"""Detections in a terminal: each below the heading of its recording or source."""

from __future__ import annotations

import io
from pathlib import PurePath

from rich.console import Console

from edgebird.sinks import Recorded
from edgebird.sinks.terminal import TerminalSink
from tests.sinking import GAP, RATE, STARTED, Tape, detection

LINE = "  0:00:12.5 - 0:00:20.0  0.93  Common Cuckoo (Cuculus canorus, comcuc)"


def test_headings_stand_where_a_recording_begins_or_the_source_changes() -> None:
    stream = io.StringIO()
    sink = TerminalSink(Console(file=stream, width=40))
    for name in ("garden", "pond\ud800", "garden"):
        for event in (GAP, detection(Tape(name=name)), detection(Tape(name=name))):
            sink.take(event, Tape(name=name))
    for tape in (Tape(name="dawn.wav"), Tape(name="dusk.wav", started=None)):
        recording = Recorded(tape.origin, PurePath("x"), RATE)
        sink.begin(recording)
        sink.take(detection(tape), recording)
    assert stream.getvalue().splitlines() == [
        *["garden", LINE, LINE, "pond\ufffd", LINE, LINE, "garden", LINE, LINE],
        *[f"dawn.wav  {STARTED.isoformat(timespec='milliseconds')}", LINE, "dusk.wav", LINE],
    ]
