"""`edgebird bench`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgebird.cli import shell
from edgebird.cli.options import BundleArgument, HopOption, ThreadsOption
from edgebird.errors import EdgebirdError, UsageError
from edgebird.settings.model import PRECISIONS

if TYPE_CHECKING:
    from edgebird.benchmarks.session import Plan
    from edgebird.bundle import Bundle

NAME = "bench"


def run(
    bundle: BundleArgument,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            "--scenario",
            metavar="NAME",
            help="single (default): one window after another. offline: over "
            "batch sizes. multi: streams whose windows are due together. listen: real-time audio through the "
            "whole streaming path. Repeatable.",
        ),
    ] = None,
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", metavar="NAME", help="The engine; several take turns.")
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option("--precision", metavar="P", help=f"{PRECISIONS}; several take turns."),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", metavar="N", min=1, help="Windows at once (single, offline).")
    ] = None,
    streams: Annotated[int, typer.Option("--streams", metavar="N", min=1, help="Sources (multi, listen).")] = 4,
    hop: HopOption = None,
    audio: Annotated[
        list[Path] | None, typer.Option("--audio", metavar="FILE", help="Recordings to score; default: the demo's.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", help="Measure at least so long.")] = 3.0,
    iterations: Annotated[int, typer.Option("--iterations", metavar="N", min=1, help="And at least so often.")] = 50,
    threads: ThreadsOption = None,
    baseline: Annotated[
        list[Path] | None,
        typer.Option(
            "--baseline",
            metavar="FILE",
            help="TorchScript file of the original (*_jit_bs4.pt), timed in "
            "turns with the rest; several are one ensemble. Loading one runs the code in it.",
        ),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="FILE", help="An earlier --json of this machine and bundle.")
    ] = None,
    fail_if_slower: Annotated[
        str | None, typer.Option("--fail-if-slower", metavar="PERCENT", help="Exit 1 if slower than that by 5%, say.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Keep every sample here.")] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="The same as a page to look at.")
    ] = None,
) -> None:
    """Measure latency, throughput, how many streams are carried, or how late events are, on real recordings.

    Scores are compared with the original's in the same run: an engine that is wrong gets no figure and exit code 1.

    Example: edgebird bench birds --runtime ort-cpu --runtime openvino --threads 1
    """
    from edgebird.benchmarks.method import Duration
    from edgebird.benchmarks.session import Plan
    from edgebird.benchmarks.subjects import Wanted
    from edgebird.bundle import open_bundle
    from edgebird.detection import HOP_S

    if not 0 <= seconds < float("inf"):
        raise UsageError(f"--seconds {seconds:g}: wanted 0 or more")
    wanted = Wanted(_each(runtime, "auto"), _each(precision, "fp32"), threads, tuple(baseline or ()))
    plan = Plan(
        wanted, _each(scenario, "single"), tuple(batch or ()), streams, HOP_S if hop is None else hop,
        tuple(audio or ()), Duration(seconds, iterations, warm_up_s=min(1.0, seconds)),
    )  # fmt: skip
    _bench(open_bundle(bundle), plan, (compare, fail_if_slower), (json_file, html_file))


def _each(given: list[str] | None, usual: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(given or [usual]))


def _bench(
    bundle: Bundle, plan: Plan, against: tuple[Path | None, str | None], files: tuple[Path | None, Path | None]
) -> None:
    """against: the earlier report and the limit; files: to write, as JSON and HTML."""
    from edgebird.benchmarks import comparison, session, table

    limit = comparison.limit_of(against[1], against[0])
    earlier = comparison.read_report(against[0]) if against[0] else None
    for file in filter(None, files):
        _require_writable(file)
    report = session.run(bundle, plan, shell.say, earlier)
    if any(one["verdict"] != "INVALID" for one in report["runs"]):
        for line in table.lines(report, bundle.card.window_samples / bundle.card.sample_rate):
            shell.result(line)
    try:
        compared = comparison.compare(report, earlier) if earlier else []
        report["compared"] = [one.to_json() for one in compared]
    finally:
        _write(report, *files)
    for one in compared:
        shell.result(str(one))
    wrong = list(dict.fromkeys(one["reasons"][0] for one in report["runs"] if one["verdict"] == "INVALID"))
    slower = [str(one) for one in compared if limit is not None and one.is_slower(limit)]
    if problems := [*wrong, *report["refused"], *slower]:
        raise EdgebirdError("; ".join(problems))


class _NothingYet(Exception):  # noqa: N818  not an error
    """Leaves the file as it is."""


def _require_writable(file: Path) -> None:
    """Raise OutputError before time is spent on what could not be written then."""
    from edgebird.files import atomic_text

    with suppress(_NothingYet), atomic_text(file):
        raise _NothingYet


def _write(report: dict[str, Any], json_file: Path | None, html_file: Path | None) -> None:
    import json

    from edgebird.benchmarks.page import page_of
    from edgebird.files import atomic_text

    if json_file:
        with atomic_text(json_file) as stream:
            json.dump(report, stream)
    if html_file:
        with atomic_text(html_file) as stream:
            stream.write(page_of(report))
