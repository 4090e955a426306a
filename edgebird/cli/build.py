"""`edgebird build`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgebird.cli import shell
from edgebird.cli.options import REQUIRED, BundleArgument, own_option, parameter, takes

NAME = "build"

_OPTIONS = [
    parameter("bundle", BundleArgument, REQUIRED),
    own_option(
        "precision",
        str,
        "fp32",
        "--precision",
        metavar="P",
        help="Which of the bundle's graphs: fp32, fp16, int8, int8+fp16.",
    ),
    own_option("runtime", str, "tensorrt", "--runtime", metavar="NAME", help="tensorrt, or tensorrt-rtx."),
    own_option(
        "capabilities",
        list[str],
        [],
        "--for",
        metavar="SM",
        help="Compile ahead of time for this GPU, such as sm86; tensorrt-rtx only, needs no GPU; repeats.",
    ),
    own_option(
        "out", Path | None, None, "--out", metavar="DIR", help="Where engines of --for go; else into the bundle."
    ),
    own_option("max_batch", int, 4, "--max-batch", metavar="N", min=1, help="Most windows that it takes at once."),
    own_option(
        "workspace", int, 1024, "--workspace", metavar="MIB", min=1, help="Memory that a layer may take to work in."
    ),
    own_option(
        "optimization_level", int, 3, "--optimization-level", metavar="0-5", help="How long to search for fast kernels."
    ),
    own_option(
        "hardware",
        str | None,
        None,
        "--hardware-compatible",
        metavar="LEVEL",
        help="same-compute-capability or ampere-plus: let other GPUs load it, at the cost of speed.",
    ),
    own_option(
        "version_compatible",
        bool,
        False,
        "--version-compatible",
        help="Let newer TensorRTs of this major version load it.",
    ),
    own_option("rebuild", bool, False, "--rebuild", help="Build although there is one that fits."),
]


@takes(_OPTIONS)
def run(**options: Any) -> None:
    """Build a TensorRT engine on the device that shall run it, and prove it there against the original network.

    An engine that does not score as the original is deleted, the one that was there before stays: exit code 1. With
    --for, TensorRT-RTX compiles for GPUs that are not here; such an engine is proven where it is first opened.

    Example: edgebird build birds --precision fp16
    """
    from edgebird.bundle import open_bundle
    from edgebird.runtimes.trt.build import build_engine
    from edgebird.runtimes.trt.request import EngineRequest, check_request

    request = EngineRequest(
        options["runtime"],
        options["precision"],
        tuple(dict.fromkeys(name.lower() for name in options["capabilities"])),
        options["out"],
        options["max_batch"],
        options["workspace"],
        options["optimization_level"],
        options["hardware"],
        options["version_compatible"],
        options["rebuild"],
    )
    check_request(request)
    with _watch() as progress:
        path = build_engine(open_bundle(options["bundle"]), request, shell.say, progress)
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
