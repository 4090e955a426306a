"""`edgebird detect`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from edgebird.cli.options import given, parameter, parameters, rows_of, takes
from edgebird.errors import UsageError

NAME = "detect"

_AUDIO = Annotated[list[Path], typer.Argument(metavar="AUDIO", help="Recordings, and folders of them.")]
_SUBMISSION = Annotated[
    Path | None,
    typer.Option("--submission", metavar="FILE.csv", help="Scores of every 5 s, as BirdCLEF wants them."),
]
_ROWS = rows_of(NAME)


@takes(
    [
        parameter("audio", _AUDIO, inspect.Parameter.empty),
        *parameters(_ROWS),
        parameter("submission", _SUBMISSION, None),
    ]
)
def run(**options: Any) -> None:
    """Find birds in recordings: WAV, FLAC, OGG, MP3, any rate and length, folders with all they hold.

    Prints a table in a terminal and JSON lines elsewhere. A file that cannot be read is named, the others are done,
    and the exit code is 1.

    Example: edgebird detect recordings/ --bundle birds --format raven --out tables
    """
    from edgebird.cli.job import Job, run_job
    from edgebird.settings.build import recording_settings

    wanted, submission = given(_ROWS, options), options["submission"]
    detection, output = recording_settings(wanted)
    if submission and "hop" in wanted:
        raise UsageError("--submission sets the hop itself: leave --hop away")
    run_job(Job(tuple(options["audio"]), detection, output, submission))
