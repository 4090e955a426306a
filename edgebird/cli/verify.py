"""`edgebird verify`."""

from __future__ import annotations

from typing import Annotated

import typer

from edgebird.cli import shell
from edgebird.cli.options import BundleArgument, RuntimeOption, ThreadsOption

NAME = "verify"


def run(
    bundle: BundleArgument,
    runtime: RuntimeOption = "auto",
    precision: Annotated[
        str | None, typer.Option("--precision", metavar="P", help="Only this graph; default: every one of the bundle.")
    ] = None,
    threads: ThreadsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Prove a bundle on this machine: its files are whole, its graphs score real audio as the original network did.

    Needs neither torch nor the checkpoints. Exit code 1 if anything differs by more than its tolerance.

    Example: edgebird verify birds
    """
    import json

    from edgebird.bundle import open_bundle
    from edgebird.verification import verify

    results = []
    for result in verify(open_bundle(bundle), runtime, precision, threads, shell.say):
        results.append(result)
        parity, tolerance = result.parity, result.tolerance
        if not as_json:
            shell.result(
                f"{result.precision} on {result.runtime}: {'PASSED' if result.passed else 'FAILED'}\n"
                f"  largest score difference {parity.max_abs:.1e} (allowed {tolerance.max:g}), "
                f"99 % within {parity.p99:.1e} (allowed {tolerance.p99:g})\n"
                f"  top label agrees in {parity.top1_agreement:.0%} of {parity.top1_windows} windows\n"
                f"  worst window: {result.worst}"
            )
    passed = all(result.passed for result in results)
    if as_json:
        shell.result(json.dumps({"bundle": str(bundle), "passed": passed, "results": [r.to_json() for r in results]}))
    if not passed:
        raise typer.Exit(shell.FAILED)
