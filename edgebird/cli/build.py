"""`edgebird build`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from edgebird.cli import shell
from edgebird.cli.options import BundleArgument

NAME = "build"


def run(
    bundle: BundleArgument,
    precision: Annotated[
        str, typer.Option("--precision", metavar="P", help="Which of the bundle's graphs: fp32, fp16, int8.")
    ] = "fp32",
    runtime: Annotated[
        str, typer.Option("--runtime", metavar="NAME", help="tensorrt, or tensorrt-rtx.")
    ] = "tensorrt",
    capabilities: Annotated[
        list[str],
        typer.Option("--for", metavar="SM", help="Compile ahead of time for this GPU, such as sm86; tensorrt-rtx only, "
                     "needs no GPU; repeats."),
    ] = [],  # noqa: B006  Typer copies it
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where engines of --for go; else into the bundle.")
    ] = None,
    max_batch: Annotated[
        int, typer.Option("--max-batch", metavar="N", min=1, help="Most windows that it takes at once.")
    ] = 4,
    workspace: Annotated[
        int, typer.Option("--workspace", metavar="MIB", min=1, help="Memory that a layer may take to work in.")
    ] = 1024,
    optimization_level: Annotated[
        int, typer.Option("--optimization-level", metavar="0-5", help="How long to search for fast kernels.")
    ] = 3,
    hardware: Annotated[
        str | None,
        typer.Option("--hardware-compatible", metavar="LEVEL", help="same-compute-capability or ampere-plus: let other "
                     "GPUs load it, at the cost of speed."),
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Let newer TensorRTs of this major version load it.")
    ] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build although there is one that fits.")] = False,
) -> None:  # fmt: skip
    """Build a TensorRT engine on the device that shall run it, and prove it there against the original network.

    An engine that does not score as the original is deleted, the one that was there before stays: exit code 1. With
    --for, TensorRT-RTX compiles for GPUs that are not here; such an engine is proven where it is first opened.

    Example: edgebird build birds --precision fp16
    """
    from edgebird.bundle import open_bundle
    from edgebird.runtimes.trt.build import build_engine
    from edgebird.runtimes.trt.request import EngineRequest, check_request

    request = EngineRequest(
        runtime,
        precision,
        tuple(dict.fromkeys(name.lower() for name in capabilities)),
        out,
        max_batch,
        workspace,
        optimization_level,
        hardware,
        version_compatible,
        rebuild,
    )
    check_request(request)
    with _watch() as progress:
        path = build_engine(open_bundle(bundle), request, shell.say, progress)
    shell.result(str(path))


@contextmanager
def _watch() -> Iterator[Callable[[str, float], None]]:
    """What shows the progress: a bar in a terminal, a line for each tenth elsewhere."""
    if shell.stderr_is_terminal() and not shell.quiet():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = TextColumn("{task.percentage:>3.0f}%"), BarColumn(), TimeElapsedColumn()
        console = Console(stderr=True)
        with Progress(*columns, TextColumn("{task.description}", markup=False), console=console, transient=True) as bar:
            task = bar.add_task("", total=1.0)
            yield lambda phase, share: bar.update(task, completed=share, description=phase)
        return
    told = [0]

    def tell(phase: str, share: float) -> None:
        if int(10 * share) > told[0]:
            told[0] = int(10 * share)
            shell.say(f"          {share:.0%} {phase}")

    yield tell
