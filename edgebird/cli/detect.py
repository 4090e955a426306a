"""`edgebird detect`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from edgebird.cli.options import given, parameter, parameters, rows_of, source_rows, takes
from edgebird.errors import UsageError

NAME = "detect"

_AUDIO = Annotated[list[Path], typer.Argument(metavar="AUDIO", help="Recordings, and folders of them.")]
_SUBMISSION = Annotated[
    Path | None,
    typer.Option("--submission", metavar="FILE.csv", help="Scores of every 5 s, as BirdCLEF wants them."),
]
_CHANNEL = Annotated[
    str | None,
    typer.Option(
        "--channel", metavar="N|each", help="One channel, 1 is the first, or each one apart; default: the mean of all."
    ),
]
_ROWS, _SOUND = rows_of(NAME), source_rows(NAME)


@takes(
    [
        parameter("audio", _AUDIO, inspect.Parameter.empty),
        *parameters(_ROWS),
        parameter("channel", _CHANNEL, None),
        *parameters(_SOUND),
        parameter("submission", _SUBMISSION, None),
    ]
)
def run(**options: Any) -> None:
    """Find birds in recordings: WAV, FLAC, OGG, MP3, any rate and length, folders with all they hold.

    Prints a table in a terminal and JSON lines elsewhere. A file that cannot be read is named, the others are done,
    and the exit code is 1. So it is if a part of a file is missing or damaged; all else of it is told.

    Example: edgebird detect recordings/ --bundle birds --format raven --out tables
    """
    from edgebird.cli.job import Job, run_job
    from edgebird.conditioning import sound_options
    from edgebird.settings.build import recording_settings
    from edgebird.settings.sources import recording_source

    wanted, submission = given(_ROWS, options), options["submission"]
    detection, output = recording_settings(wanted)
    if submission and "hop" in wanted:
        raise UsageError("--submission sets the hop itself: leave --hop away")
    sound = sound_options(recording_source(given(_SOUND, options)))
    run_job(Job(tuple(options["audio"]), detection, output, submission, _channel(options["channel"]), sound))


def _channel(text: str | None) -> int | None:
    """The channel of an option: see `recordings.Work`. Raises UsageError."""
    if text is None:
        return None
    if text != "each" and not (text.isdecimal() and int(text) > 0):
        raise UsageError(f"--channel {text!r}: wanted 1 for the first, or more, or each")
    return 0 if text == "each" else int(text)
