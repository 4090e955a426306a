"""`edgebird detect`."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebird.cli.options import channel_of, channel_option, given, parameter, parameters, rows_of, source_rows, takes
from edgebird.errors import UsageError

if TYPE_CHECKING:
    from edgebird.archives.journal import Shard

NAME = "detect"

_AUDIO = Annotated[
    list[Path], typer.Argument(metavar="AUDIO", help="Recordings, and folders of them; also s3://, sftp://.")
]
_SUBMISSION = Annotated[
    Path | None,
    typer.Option("--submission", metavar="FILE.csv", help="Scores of every 5 s, as BirdCLEF wants them."),
]
_RESUME = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on in --out DIR: what is done there, by this bundle and settings, is not done again."
    ),
]
_SHARD = Annotated[
    str | None,
    typer.Option("--shard", metavar="K/N", help="The K-th of N parts of the recordings, for jobs beside each other."),
]
_SCORES = Annotated[
    float | None,
    typer.Option("--scores", metavar="X", help="Of parquet: also all scores of at least X.", min=0, max=1),
]
_RECORDER = Annotated[
    int,
    typer.Option("--recorder-folder", metavar="N", help="Of parquet: which folder below AUDIO is a recorder's.", min=1),
]
_ON = Annotated[
    str | None,
    typer.Option("--on", metavar="ray", help="Score on the machines of a Ray cluster (extra cluster), not here."),
]
_ADDRESS = Annotated[
    str | None,
    typer.Option("--ray-address", metavar="ADDRESS", help="Of a cluster that runs; default: one on this computer."),
]
_ROWS, _SOUND = rows_of(NAME), source_rows(NAME)


@takes(
    [
        parameter("audio", _AUDIO, inspect.Parameter.empty),
        *parameters(_ROWS),
        channel_option(),
        *parameters(_SOUND),
        parameter("submission", _SUBMISSION, None),
        parameter("resume", _RESUME, False),
        parameter("shard", _SHARD, None),
        parameter("scores", _SCORES, None),
        parameter("recorder_folder", _RECORDER, 1),
        parameter("on", _ON, None),
        parameter("ray_address", _ADDRESS, None),
    ]
)
def run(**options: Any) -> None:
    """Find birds in recordings: WAV, FLAC, OGG, MP3, any rate and length, folders with all they hold.

    Prints a table in a terminal and JSON lines elsewhere. A file that cannot be read is named, the others are done,
    and the exit code is 1. So it is if a part of a file is missing or damaged; all else of it is told.

    Example: edgebird detect recordings/ --bundle birds --format raven --out tables
    """
    from edgebird.cli.archive import ArchiveJob
    from edgebird.cli.job import Job, run_job
    from edgebird.conditioning import sound_options
    from edgebird.remote.path import here, place
    from edgebird.settings.build import recording_settings
    from edgebird.settings.sources import recording_source

    wanted, submission = given(_ROWS, options), options["submission"]
    if submission:
        here(submission, "--submission")
    detection, output = recording_settings(wanted)
    output = replace(output, out=place(output.out)) if output.out else output
    if submission and "hop" in wanted:
        raise UsageError("--submission sets the hop itself: leave --hop away")
    channel, shard = channel_of(options["channel"]), _shard(options["shard"])
    if options["on"] not in (None, "ray"):
        raise UsageError(f"--on {options['on']!r}: wanted ray")
    places = options["on"] is not None, options["ray_address"]
    archive = ArchiveJob(options["resume"], shard, options["scores"], options["recorder_folder"], *places)
    sound = sound_options(recording_source(given(_SOUND, options)))
    run_job(Job(tuple(options["audio"]), detection, output, submission, channel, sound, archive))


def _shard(text: str | None) -> Shard:
    """The part of an option. Raises UsageError."""
    from edgebird.archives.journal import WHOLE, Shard

    if text is None:
        return WHOLE
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 0 < int(number) <= int(count)):
        raise UsageError(f"--shard {text!r}: wanted K/N, such as 1/8 for the first of 8 parts")
    return Shard(int(number), int(count))
