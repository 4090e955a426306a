"""What `detect` does with its options."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import typer
from rich.console import Console

from edgebird.bundle import Bundle, open_bundle
from edgebird.cli import shell
from edgebird.cli.progress import make_watcher
from edgebird.cli.table import TableOutput
from edgebird.detection import Settings, detection_settings
from edgebird.errors import UsageError
from edgebird.files import atomic_text
from edgebird.outputs import FolderOutput, StreamOutput, SubmissionOutput
from edgebird.recordings import Output, Work, process
from edgebird.runtimes import RuntimeOptions, open_runtime
from edgebird.settings.model import DetectionSettings, OutputSettings
from edgebird.sources import FoundAudio, find_audio
from edgebird.timestamps import parse_timezone


@dataclass(frozen=True, slots=True)
class Job:
    """What `detect` is to do. audio: files and folders. submission: a table of scores, which sets the hop itself."""

    audio: tuple[Path, ...]
    detection: DetectionSettings
    output: OutputSettings
    submission: Path | None = None


def run_job(job: Job) -> None:
    """Do it; exit code 1 if a recording could not be read."""
    _check(job)
    bundle = open_bundle(job.detection.bundle)
    settings = _settings(job, bundle)
    recordings, missing = find_audio(job.audio)
    for error in missing:
        shell.say_error(error)
    failed = len(missing) + (_process(job, bundle, settings, recordings) if recordings else 0)
    if failed:
        shell.say(f"{failed} of {len(missing) + len(recordings)} recordings could not be read")
        raise typer.Exit(shell.FAILED)


def _process(job: Job, bundle: Bundle, settings: Settings, recordings: list[FoundAudio]) -> int:
    """Analyse the recordings; how many failed."""
    wanted, screen = job.detection, _screen(job)
    timezone = parse_timezone(wanted.timezone) if wanted.timezone else None
    options = RuntimeOptions(wanted.precision, wanted.threads, throughput=True)
    with ExitStack() as stack:
        runtime = open_runtime(bundle, wanted.runtime, options, shell.say)
        stack.callback(runtime.close)
        outputs = stack.enter_context(_outputs(job, bundle, recordings, screen))
        watcher = stack.enter_context(make_watcher(recordings, screen))
        return process(recordings, Work(runtime, settings, timezone), outputs, watcher)


def _check(job: Job) -> None:
    explain, output = job.detection.explain, job.output
    if explain and output.format not in (None, "jsonl"):
        raise UsageError(f"--explain needs --format jsonl: {output.format} has no place for rejected candidates")
    if explain and job.submission and not (output.out or output.format):
        raise UsageError("--explain tells of detections: with --submission give --format jsonl or --out DIR too")


def _settings(job: Job, bundle: Bundle) -> Settings:
    card, wanted = bundle.card, job.detection
    if job.submission:
        wanted = replace(wanted, hop_s=card.window_samples / card.sample_rate)
    return detection_settings(wanted, card)


def _screen(job: Job) -> Console | None:
    """Where a progress bar may be: the terminal of stderr, unless lines of results come there too.

    A table and the bar below it share one console, or they would tear each other.
    """
    if not shell.stderr_is_terminal():
        return None
    if _is_table(job):
        return Console()
    prints_lines = shell.stdout_is_terminal() and not job.output.out and (job.output.format or not job.submission)
    return None if prints_lines else Console(stderr=True)


def _is_table(job: Job) -> bool:
    """Whether detections are printed for a person, not for a program."""
    return shell.stdout_is_terminal() and not (
        job.output.format or job.detection.explain or job.output.out or job.submission
    )


@contextmanager
def _outputs(job: Job, bundle: Bundle, recordings: list[FoundAudio], screen: Console | None) -> Iterator[list[Output]]:
    """The outputs the options ask for; what is written as a whole is kept if the body gets through."""
    outputs: list[Output] = []
    with ExitStack() as stack:
        if job.submission:
            SubmissionOutput.check(recordings)
            outputs.append(SubmissionOutput(stack.enter_context(atomic_text(job.submission)), bundle.card))
        if job.output.out:
            folder = FolderOutput(job.output.out, job.output.format or "jsonl", bundle.card, job.detection.explain)
            folder.check(recordings)
            outputs.append(folder)
        elif job.output.format or not job.submission:
            outputs.append(_to_stdout(job, bundle, len(recordings), screen))
        yield outputs


def _to_stdout(job: Job, bundle: Bundle, recordings: int, screen: Console | None) -> Output:
    if _is_table(job):
        return TableOutput(bundle.card, screen or Console())
    form = job.output.format
    if form == "audacity" and recordings > 1:
        raise UsageError("Audacity labels do not say which recording they are of: give --out DIR for several")
    return StreamOutput(sys.stdout, form or "jsonl", bundle.card, job.detection.explain)
