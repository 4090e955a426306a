"""`edgebird demo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgebird.cli import shell
from edgebird.cli.options import RuntimeOption, ThreadsOption
from edgebird.errors import EdgebirdError, OutputError

if TYPE_CHECKING:
    from edgebird.bundle import Bundle
    from edgebird.demo import Calls
    from edgebird.events import Event
    from edgebird.runtimes import Runtime

NAME = "demo"

_ABOUT = (
    "Two small folds of the same kind as the real ones, trained to know three birds from 24 seconds of their calls.",
    "A toy to try edgebird with: other birds and other places will fool it. Never survey birds with it.",
)
_NEXT = (
    "Next, with the trained folds of BirdCLEF 2023: get Kaggle's dataset atsunorifujita/birdclef2023-4th-models, then",
    "  edgebird export exp105_eca_nfnet_l0/fold_0_model.bin --out birds",
    "  edgebird verify birds",
    "  edgebird detect recordings/ --bundle birds",
)


def run(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Leaves DIR/bundle and DIR/detections.jsonl.")
    ] = Path("edgebird-demo"),
    runtime: RuntimeOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Try everything in a minute: export two small trained folds, prove them, find three birds, measure.

    Where torch is not installed it takes the bundle that comes with edgebird. Exit code 1 if what is found is not what
    is expected.

    Example: edgebird demo
    """
    from edgebird import demo
    from edgebird.benchmarks.latency import Duration, measure
    from edgebird.benchmarks.table import times
    from edgebird.bundle import open_bundle
    from edgebird.runtimes import RuntimeOptions, open_runtime

    options = RuntimeOptions(threads=threads)
    open_runtime(open_bundle(demo.BUNDLE), runtime, options).close()  # an engine that cannot run is said at once
    _say(_ABOUT)
    bundle = _make_bundle(out / "bundle")
    _prove(bundle, runtime, threads)
    engine = open_runtime(bundle, runtime, options)
    try:
        found = _detect(engine, out / "detections.jsonl")
        latency_ms = measure(engine, bundle, "fp32", Duration(1.0))["latency_ms"]["p50"]
    finally:
        engine.close()
    for line in _table(demo.calls(), found):
        shell.result(line)
    window_ms = 1e3 * bundle.card.window_samples / bundle.card.sample_rate
    shell.result(
        f"A window of {window_ms / 1e3:g} s takes {latency_ms:.1f} ms here (median, {engine.name}, both small folds): "
        f"{times(window_ms / latency_ms)} x real time without overlap"
    )
    if wrong := demo.differences(found):
        raise EdgebirdError(f"not what this model finds elsewhere: {'; '.join(wrong)}")
    _say(_NEXT)


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        shell.say(line)


def _make_bundle(path: Path) -> Bundle:
    """Export the folds where that is possible, else copy the bundle that was; replaces a demo's bundle only."""
    import shutil

    from edgebird import demo
    from edgebird.bundle import new_bundle, open_bundle

    labels = open_bundle(demo.BUNDLE).card.labels
    if path.exists() and (not (path / "card.json").is_file() or open_bundle(path).card.labels != labels):
        raise OutputError(f"{path} is not of the demo: give another --out DIR")
    try:
        from edgebird.export.exporter import ExportRequest, export_bundle
    except (ImportError, OSError) as error:  # OSError: torch is there, but a library of it is not
        shell.say(f"export needs torch and onnx ({error}): taking the bundle that comes with edgebird")
        with new_bundle(path, force=True) as folder:
            shutil.copytree(demo.BUNDLE, folder, dirs_exist_ok=True)
        return open_bundle(path)
    return export_bundle(ExportRequest((demo.FOLDS,), path, demo.LABELS, force=True), shell.say)


def _prove(bundle: Bundle, runtime: str, threads: int | None) -> None:
    from edgebird.verification import verify

    for result in verify(bundle, runtime, "fp32", threads, shell.say):
        result.proof.require(f"{result.runtime} does not score as the original network did")
        told = f"largest score difference {result.parity.max_abs:.1e} (allowed {result.tolerance.max:g})"
        shell.say(f"verified  {result.runtime} against the original network: {told}")


def _detect(runtime: Runtime, path: Path) -> list[Event]:
    """Detect in the recording, write all events to `path`, give the detections."""
    from edgebird import demo
    from edgebird.detection import analyse, settings_for
    from edgebird.events import Events, to_json
    from edgebird.files import atomic_text
    from edgebird.sources import FileSource
    from edgebird.types import Detection, Summary

    card = runtime.card
    source = FileSource(demo.RECORDING, card.sample_rate, demo.RECORDING.name)
    events = Events.of(card)
    found = []
    with atomic_text(path) as stream:
        for result in analyse(source.blocks(), runtime, settings_for(card)):
            if isinstance(result, (Detection, Summary)):
                event = events.tell(source.origin, result)
                stream.write(to_json(event) + "\n")
                if isinstance(result, Detection):
                    found.append(event)
    return found


def _table(calls: Sequence[Calls], found: Sequence[Event]) -> list[str]:
    """A line for each bird that calls, with what was found there, and one for each detection where none calls."""
    lines = [f"{'calls at':<15}{'bird':<22}{'found at':<15} score"]
    explained: set[int] = set()
    for bird in calls:
        line = f"{_span(bird.start_s, bird.end_s):<15}{bird.common_name:<22}"
        here = [e for e in found if e["code"] == bird.code and e["start_s"] < bird.end_s and e["end_s"] > bird.start_s]
        explained.update(map(id, here))
        at = ", ".join(_span(event["start_s"], event["end_s"]) for event in here) or "-"
        score = ", ".join(f"{event['score']:.2f}" for event in here)
        note = ": ".join(filter(None, ["" if bird.certain else "nobody can tell", bird.note]))
        lines.append(f"{line}{at:<15} {score:<6} {f'({note})' if note else ''}".rstrip())
    for event in found:
        if id(event) not in explained:
            span = _span(event["start_s"], event["end_s"])
            lines.append(f"{'-':<15}{event['common_name']:<22}{span:<15} {event['score']:.2f}   (a false alarm)")
    return lines


def _span(start: float, end: float) -> str:
    return f"{start:.1f}-{end:.1f} s"
