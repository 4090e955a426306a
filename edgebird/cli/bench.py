"""`edgebird bench`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgebird.cli import shell
from edgebird.cli.options import REQUIRED, BundleArgument, HopOption, ThreadsOption, own_option, parameter, takes
from edgebird.errors import EdgebirdError, UsageError
from edgebird.settings.model import PRECISIONS

if TYPE_CHECKING:
    from edgebird.benchmarks.session import Plan
    from edgebird.bundle import Bundle

NAME = "bench"

_OPTIONS = [
    parameter("bundle", BundleArgument, REQUIRED),
    own_option(
        "scenario",
        list[str] | None,
        None,
        "--scenario",
        metavar="NAME",
        help="single (default): one window after another. offline: over "
        "batch sizes. multi: streams whose windows are due together. listen: real-time audio through the "
        "whole streaming path. Repeatable.",
    ),
    own_option("runtime", list[str] | None, None, "--runtime", metavar="NAME", help="The engine; several take turns."),
    own_option(
        "precision", list[str] | None, None, "--precision", metavar="P", help=f"{PRECISIONS}; several take turns."
    ),
    own_option(
        "batch", list[int] | None, None, "--batch", metavar="N", min=1, help="Windows at once (single, offline)."
    ),
    own_option("streams", int, 4, "--streams", metavar="N", min=1, help="Sources (multi, listen)."),
    parameter("hop", HopOption, None),
    own_option(
        "audio", list[Path] | None, None, "--audio", metavar="FILE", help="Recordings to score; default: the demo's."
    ),
    own_option("seconds", float, 3.0, "--seconds", metavar="S", help="Measure at least so long."),
    own_option("iterations", int, 50, "--iterations", metavar="N", min=1, help="And at least so often."),
    parameter("threads", ThreadsOption, None),
    own_option(
        "cascade", bool, False, "--cascade", help="Each engine in a cascade too, in turns with all windows in full."
    ),
    own_option(
        "baseline",
        list[Path] | None,
        None,
        "--baseline",
        metavar="FILE",
        help="TorchScript file of the original (*_jit_bs4.pt), timed in "
        "turns with the rest; several are one ensemble. Loading one runs the code in it.",
    ),
    own_option(
        "baseline_device",
        str,
        "cpu",
        "--baseline-device",
        metavar="DEVICE",
        help="Where PyTorch runs it: cpu, or cuda for the first GPU, without TF32.",
    ),
    own_option(
        "compare", Path | None, None, "--compare", metavar="FILE", help="An earlier --json of this machine and bundle."
    ),
    own_option(
        "fail_if_slower",
        str | None,
        None,
        "--fail-if-slower",
        metavar="PERCENT",
        help="Exit 1 if slower than that by 5%, say.",
    ),
    own_option("json_file", Path | None, None, "--json", metavar="FILE", help="Keep every sample here."),
    own_option("html_file", Path | None, None, "--html", metavar="FILE", help="The same as a page to look at."),
]


@takes(_OPTIONS)
def run(**options: Any) -> None:
    """Measure latency, throughput, how many streams are carried, or how late events are, on real recordings.

    Scores are compared with the original's in the same run: an engine that is wrong gets no figure and exit code 1.

    Example: edgebird bench birds --runtime ort-cpu --runtime openvino --threads 1
    """
    from edgebird.bundle import open_bundle

    plan = _plan(options)
    against, files = (options["compare"], options["fail_if_slower"]), (options["json_file"], options["html_file"])
    _bench(open_bundle(options["bundle"]), plan, against, files)


def _plan(options: dict[str, Any]) -> Plan:
    from edgebird.benchmarks.method import Duration
    from edgebird.benchmarks.session import Plan
    from edgebird.benchmarks.subjects import Wanted
    from edgebird.detection import HOP_S

    seconds, hop = options["seconds"], options["hop"]
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"--seconds {seconds:g}: wanted 0 or more")
    engines, precisions = _each(options["runtime"], "auto"), _each(options["precision"], "fp32")
    return Plan(
        Wanted(
            engines,
            precisions,
            options["threads"],
            tuple(options["baseline"] or ()),
            baseline_device=options["baseline_device"],
            cascade=options["cascade"],
        ),
        _each(options["scenario"], "single"),
        tuple(options["batch"] or ()),
        options["streams"],
        HOP_S if hop is None else hop,
        tuple(options["audio"] or ()),
        Duration(seconds, options["iterations"], warm_up_s=min(1.0, seconds)),
    )


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
