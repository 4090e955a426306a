"""`edgebird bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgebird.cli import shell
from edgebird.cli.options import BundleArgument, PrecisionOption, RuntimeOption, ThreadsOption
from edgebird.errors import UsageError

NAME = "bench"


def run(
    bundle: BundleArgument,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", help="Measure at least so long.")] = 3.0,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Keep every sample here.")] = None,
) -> None:
    """Measure the latency of one window after another on real recordings, with parity in the same run.

    Example: edgebird bench birds --threads 1
    """
    import json

    from edgebird.benchmarks.latency import Duration, measure, report
    from edgebird.bundle import open_bundle
    from edgebird.files import atomic_text
    from edgebird.runtimes import RuntimeOptions, open_runtime

    if not 0 <= seconds < float("inf"):
        raise UsageError(f"--seconds {seconds:g}: wanted 0 or more")
    opened = open_bundle(bundle)
    engine = open_runtime(opened, runtime, RuntimeOptions(precision, threads), shell.say)
    try:
        result = measure(engine, opened, precision, Duration(seconds))
    finally:
        engine.close()
    latency = result["latency_ms"]
    audio_ms = 1e3 * result["batch"] * opened.card.window_samples / opened.card.sample_rate
    shell.result(
        f"{engine.name} {precision}, windows at a time: {result['batch']}, "
        f"{len(result['samples_ms'])} inferences: {result['verdict']}\n"
        f"  ms: min {latency['min']:.1f}  p50 {latency['p50']:.1f}  p90 {latency['p90']:.1f}  "
        f"p99 {latency['p99']:.1f}  max {latency['max']:.1f}  (variation {latency['cv']:.1%})\n"
        f"  {audio_ms / latency['p50']:.0f} x real time without overlap; "
        f"largest score difference {result['parity']['max_abs']:.1e}"
    )
    if json_file:
        with atomic_text(json_file) as stream:
            json.dump(report(opened, [result]), stream)
