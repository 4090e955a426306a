"""What `detect` does with its options."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import typer
from rich.console import Console

from edgebird.archives.resuming import Left
from edgebird.bundle import Bundle, open_bundle
from edgebird.cli import shell
from edgebird.cli.archive import ArchiveJob, Keeping, process_on_ray
from edgebird.cli.progress import make_watcher
from edgebird.conditioning import SoundOptions
from edgebird.detection import Settings, cascade_use, detection_settings
from edgebird.errors import UsageError
from edgebird.formats import formatter, require_fitting
from edgebird.readers import EACH
from edgebird.recordings import Outcome, Work, process
from edgebird.runtimes import RuntimeOptions, open_runtime
from edgebird.runtimes.cascade import tell_cascade
from edgebird.settings.model import DetectionSettings, OutputSettings
from edgebird.sinks import Sink, opened
from edgebird.sinks.build import table_options
from edgebird.sinks.lines import LineSink
from edgebird.sinks.submission import SubmissionSink
from edgebird.sinks.terminal import TerminalSink
from edgebird.sources import FoundAudio, find_audio
from edgebird.timestamps import parse_timezone
from edgebird.voices import Voices


@dataclass(frozen=True, slots=True)
class Job:
    """What `detect` is to do.

    audio: files and folders. submission: a table of scores, which sets the hop itself. channel, sound: see `Work`.
    """

    audio: tuple[Path, ...]
    detection: DetectionSettings
    output: OutputSettings
    submission: Path | None = None
    channel: int | None = None
    sound: SoundOptions | None = None
    archive: ArchiveJob = field(default_factory=ArchiveJob)

    @property
    def keeping(self) -> Keeping:
        """How results are kept."""
        return Keeping(self.archive, self.detection, self.output, self.channel, self.sound)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where results go, and the recordings that are left to do."""

    sinks: list[Sink]
    screen: Console | None
    left: Left


def run_job(job: Job) -> None:
    """Do it; exit code 1 if a recording, or a part of it, could not be read, or its results not written."""
    _check(job)
    bundle = open_bundle(job.detection.bundle)
    bundle.card.require_sound()
    settings = _settings(job, bundle)
    recordings, missing = find_audio(job.audio)
    for error in missing:
        shell.say_error(error)
    if job.submission and (job.output.out or job.output.format):
        window_s = bundle.card.window_samples / bundle.card.sample_rate
        shell.say(f"--submission: one window every {window_s:g} s, for the detections too")
    plan = _plan(job, bundle, recordings)
    left, done = plan.left, plan.left.done
    if done:
        flawed = f", parts of {plan.left.flawed} are missing" if plan.left.flawed else ""
        shell.say(f"{done} of {done + len(left.recordings)} recordings are done already{flawed}")
    outcome = _process(job, bundle, settings, plan) if left.recordings else _settle(job, plan)
    outcome.failed += len(missing)
    outcome.incomplete += left.flawed
    if problem := _problem(outcome, len(missing) + done + len(left.recordings)):
        # The warnings that say what is missing are not seen with -q.
        (shell.say_error if shell.quiet() and outcome.incomplete else shell.say)(problem)
        raise typer.Exit(shell.FAILED)


def _settle(job: Job, plan: _Plan) -> Outcome:
    """Have outputs in order where nothing is left to do: a killed program may have left the last step undone."""
    if job.archive.resume:
        with opened(plan.sinks):
            pass
    return Outcome()


def _problem(outcome: Outcome, recordings: int) -> str:
    """Say of how many recordings not all is told; empty if there are none."""
    problems: list[str] = []
    for count, before, after in (
        (outcome.failed, "", " could not be read"),
        (outcome.incomplete, "parts of ", " are missing"),
        (outcome.unwritten, "results of ", " could not be written"),
    ):
        if count:
            problems.append(before + str(count) + ("" if problems else f" of {recordings} recordings") + after)
    return ", and ".join(problems)


def _plan(job: Job, bundle: Bundle, recordings: list[FoundAudio]) -> _Plan:
    """What is to do. Raises OutputError where results of two recordings could not be told apart."""
    screen = _screen(job)
    sinks = _sinks(job, bundle, recordings, screen) if recordings else []
    return _Plan(sinks, screen, job.keeping.left(sinks, recordings))


def _process(job: Job, bundle: Bundle, settings: Settings, plan: _Plan) -> Outcome:
    """Analyse the recordings."""
    wanted, recordings = job.detection, plan.left.recordings
    timezone = parse_timezone(wanted.timezone) if wanted.timezone else None
    use = cascade_use(wanted)
    options = RuntimeOptions(wanted.precision, wanted.threads, throughput=True, measure=True, cascade=use)
    with ExitStack() as stack:
        on_ray = job.archive.on_ray
        # On a cluster nothing is scored here.
        runtime = open_runtime(bundle, "null" if on_ray else wanted.runtime, options, shell.say)
        stack.callback(runtime.close)
        job.keeping.forget()
        stack.enter_context(opened(plan.sinks))
        watcher = stack.enter_context(make_watcher(recordings, plan.screen))
        on_grid = job.submission is not None
        work = Work(
            runtime,
            settings,
            timezone,
            wanted.explain,
            job.channel,
            on_grid,
            sound=job.sound,
            voices=_voices(job),
            fingerprints=job.keeping.fingerprints,
        )
        if on_ray:
            return process_on_ray(job.keeping, bundle, recordings, work, (plan.sinks, watcher))
        outcome = process(recordings, work, plan.sinks, watcher)
        tell_cascade(runtime, shell.say)
        return outcome


def _check(job: Job) -> None:
    explain, output = job.detection.explain, job.output
    require_fitting(output.format, explain)
    if explain and job.submission and not (output.out or output.format):
        raise UsageError("--explain tells of detections: with --submission give --format jsonl or --out DIR too")
    if output.privacy and not output.privacy.drops_detections:
        raise UsageError(f"--voices {output.privacy.action} is for clips, and detect writes none: give drop-detection")
    if output.privacy and (job.submission or job.archive.scores is not None):
        raise UsageError("--voices with --submission or --scores: these tell of all windows, where somebody speaks too")
    if job.detection.cascade and (job.submission or job.archive.scores is not None or job.archive.on_ray):
        raise UsageError("--cascade scores few windows in full: leave --submission, --scores and --on away")
    job.archive.check(output, job.submission is not None)
    if job.submission and job.channel == EACH:
        raise UsageError("--submission has a row for each window: give --channel N, not --channel each")


def _voices(job: Job) -> Voices | None:
    """What finds voices, loaded. Raises EdgebirdError if it is not installed."""
    if job.output.privacy is None:
        return None
    voices = Voices(job.output.privacy.threshold, job.output.privacy.margin_s)
    voices.open()
    return voices


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


def _sinks(job: Job, bundle: Bundle, recordings: list[FoundAudio], screen: Console | None) -> list[Sink]:
    """What the options ask for. Raises OutputError where results of two recordings could not be told apart."""
    output, card = job.output, bundle.card
    sinks: list[Sink] = []
    if job.submission:
        SubmissionSink.check_recordings(recordings)
        sinks.append(SubmissionSink(job.submission, card.labels, card.sample_rate))
    sinks += job.keeping.sinks(bundle, recordings)
    if not output.out and (output.format or not job.submission):
        sinks.append(_to_stdout(job, bundle, len(recordings), screen))
    return sinks


def _to_stdout(job: Job, bundle: Bundle, recordings: int, screen: Console | None) -> Sink:
    if _is_table(job):
        return TerminalSink(screen or Console())
    require_fitting(job.output.format, job.detection.explain, "recording" if recordings > 1 else "")
    card = bundle.card
    options = table_options(job.output, True, job.channel is not None, card.calibration is not None)
    return LineSink(sys.stdout, formatter(job.output.format or "jsonl", card.sample_rate, options))
