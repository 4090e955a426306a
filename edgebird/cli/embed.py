"""`edgebird embed`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebird.cli import shell
from edgebird.cli.options import channel_of, channel_option, own_option, parameter, takes

if TYPE_CHECKING:
    from edgebird.bundle import Bundle
    from edgebird.runtimes import Runtime
    from edgebird.sinks import Sink

NAME = "embed"
_AUDIO = Annotated[list[Path], typer.Argument(metavar="AUDIO", help="Recordings, and folders of them.")]


def engine_options() -> list[inspect.Parameter]:
    """Return the options that say what makes embeddings."""
    required = inspect.Parameter.empty
    return [
        own_option("bundle", Path, required, "--bundle", metavar="BUNDLE", help="A bundle that gives embeddings.",
                   envvar="EDGEBIRD_BUNDLE"),
        own_option("runtime", str, "auto", "--runtime", metavar="NAME", help="The engine, as of detect."),
        own_option("threads", int | None, None, "--threads", metavar="N", help="CPU threads of the engine.", min=1),
    ]  # fmt: skip


def open_engine(bundle: Bundle, options: Mapping[str, Any]) -> Runtime:
    """Open what makes embeddings, as these options say. Raises UsageError, RuntimeUnavailableError."""
    from edgebird.errors import UsageError
    from edgebird.runtimes import RuntimeOptions, open_runtime
    from edgebird.science.embedding import OUTPUT

    if options["runtime"] == "null":
        raise UsageError("--runtime null: it gives zeros, and to those all sound is alike: give another one")
    how = RuntimeOptions(threads=options["threads"], outputs=(OUTPUT,))
    return open_runtime(bundle, options["runtime"], how, shell.say)


@takes(
    [
        parameter("audio", _AUDIO, inspect.Parameter.empty),
        *engine_options(),
        own_option(
            "out", Path, inspect.Parameter.empty, "--out", metavar="FILE.parquet|DIR", help="A row for each window."
        ),
        own_option("format", str, "parquet", "--format", metavar="FORMAT", help="parquet, or hoplite for --out DIR."),
        own_option("hop", float, 2.5, "--hop", metavar="S", help="Seconds between windows."),
        channel_option(),
    ]
)
def run(**options: Any) -> None:
    """Write what a model makes of each window before it names a species: for search, clustering, small classifiers.

    A row has source, channel, start_s, end_s, time and embedding. Windows, gaps and channels are those of detect. It
    needs the extra parquet, and a bundle that was exported with --embeddings, or adopted with such an output. hoplite
    is a database of perch-hoplite (extra hoplite).

    Example: edgebird embed recordings/ --bundle birds --out birds.parquet
    """
    from edgebird.bundle import open_bundle
    from edgebird.cli.progress import make_watcher
    from edgebird.detection import Settings
    from edgebird.recordings import Work
    from edgebird.remote.path import here
    from edgebird.science.embedding import embed, width_of
    from edgebird.sinks import opened
    from edgebird.sources import find_audio

    here(options["out"], "--out")
    bundle, channel = open_bundle(options["bundle"]), channel_of(options["channel"])
    bundle.card.require_sound()
    width_of(bundle.card)
    sink = _sink(options, bundle)
    recordings, missing = find_audio(tuple(options["audio"]))
    for error in missing:
        shell.say_error(error)
    runtime = open_engine(bundle, options)
    try:
        work = Work(runtime, Settings(1), channel=channel)
        with opened([sink]), make_watcher(recordings, None, detects=False) as watcher:
            outcome = embed(recordings, work, sink, watcher, options["hop"])
    finally:
        runtime.close()
    if missing or outcome.failed or outcome.incomplete or outcome.unwritten:
        shell.say("not all of it could be read, or written")
        raise typer.Exit(shell.FAILED)


def _sink(options: Mapping[str, Any], bundle: Bundle) -> Sink:
    """What takes embeddings, not open yet. Raises UsageError, NotInstalledError."""
    from edgebird.errors import UsageError

    made = options["out"], bundle, "fp32", options["hop"]
    if options["format"] == "parquet":
        from edgebird.science.embedding import EmbeddingSink

        return EmbeddingSink(*made)
    if options["format"] == "hoplite":
        from edgebird.science.hoplite import HopliteSink

        return HopliteSink(*made)
    raise UsageError(f"--format {options['format']!r}: wanted parquet or hoplite")
