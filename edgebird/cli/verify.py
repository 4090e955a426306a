"""`edgebird verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgebird.cli import shell
from edgebird.cli.options import BundleArgument, RuntimeOption, ThreadsOption
from edgebird.errors import UsageError

if TYPE_CHECKING:
    from edgebird.agreement import Agreement
    from edgebird.bundle import Bundle
    from edgebird.cascade import Bound
    from edgebird.verification import Verification

NAME = "verify"
_HEADER = "precision  threshold  in FP32   kept   lost    new"


def run(
    bundle: BundleArgument,
    runtime: RuntimeOption = "auto",
    precision: Annotated[
        str | None, typer.Option("--precision", metavar="P", help="Only this graph; default: every one of the bundle.")
    ] = None,
    audio: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            "--audio",
            metavar="FOLDER",
            help="Recordings: also compare the detections of lower precisions with those in FP32.",
        ),
    ] = None,
    cascade: Annotated[
        bool,
        typer.Option("--cascade", help="Also prove what the cascade keeps, on the recordings given."),
    ] = False,
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

    if cascade and not audio:
        raise UsageError("--cascade: give --audio recordings that nothing was fitted to")
    opened = open_bundle(bundle)
    results = []
    for result in verify(opened, runtime, precision, threads, shell.say):
        results.append(result)
        if not as_json:
            shell.result(_told(result))
    if (golden := opened.card.golden) and (told := golden.told_silence(opened.card.reference)):
        shell.say(told)
    passed = all(result.passed for result in results)
    content: dict[str, Any] = {"bundle": str(bundle), "passed": passed, "results": [r.to_json() for r in results]}
    if cascade:
        proofs = _cascade(opened, audio, runtime, precision, threads, as_json)
        content["passed"] = passed = passed and all(bound.holds for bound in proofs.values())
        content["cascade"] = {name: bound.to_json() for name, bound in proofs.items()}
    elif audio:
        from edgebird.agreement import agreements

        precisions = [precision] if precision and precision != "fp32" else []
        found = list(agreements(opened, audio, runtime, precisions, threads, shell.say))
        content["detections"] = [its.to_json() for its in found]
        if not as_json:
            shell.result(_table(found))
    if as_json:
        shell.result(json.dumps(content))
    if not passed:
        raise typer.Exit(shell.FAILED)


def _cascade(
    bundle: Bundle, audio: list[Path] | None, runtime: str, precision: str | None, threads: int | None, quiet: bool
) -> dict[str, Bound]:
    """The bound of each precision, printed unless quiet."""
    from edgebird.cascade_proof import prove_cascade

    proofs = {}
    for name, engine, bound in prove_cascade(bundle, audio or (), runtime, precision, threads, shell.say):
        proofs[name] = bound
        if not quiet:
            shell.result(f"cascade, {name} on {engine}: {'PASSED' if bound.holds else 'FAILED'}\n  {bound.told()}")
    return proofs


def _told(result: Verification) -> str:
    from edgebird.parity import told_bound

    parity, tolerance = result.parity, result.tolerance
    return (
        f"{result.precision} on {result.runtime}: {'PASSED' if result.passed else 'FAILED'}\n"
        f"  largest score difference {parity.max_abs:.1e} (allowed {tolerance.max:g}), "
        f"99 % within {parity.p99:.1e} (allowed {tolerance.p99:g})\n"
        f"  {told_bound(parity.beyond, parity.windows, result.recordings)}\n"
        f"  top label agrees in {parity.top1_agreement:.0%} of {parity.top1_windows} windows; "
        f"however close, another is on top in {parity.top1_other}\n"
        f"  worst window: {result.worst}, class {result.worst_class}"
        + (f"\n  cause: {result.proof.cause}" if result.proof.cause else "")
    )


def _table(found: Sequence[Agreement]) -> str:
    """Detections of lower precisions beside those in FP32."""
    if not found:
        return "no lower precision to compare"
    rows = (f"{a.precision:<9}  {a.threshold:>9g}  {a.fp32:>7}  {a.kept:>5}  {a.lost:>5}  {a.new:>5}" for a in found)
    return "\n".join((_HEADER, *rows))
