"""The steps of a run on a device: first what runs and is right, then how fast, then for how long."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebird.benchmarks.device.runner import DeviceStep
from edgebird.bundle import Bundle
from edgebird.runtimes.trt.bindings import MODULES

RUNTIMES = ("tensorrt", "tensorrt-rtx", "ort-cuda", "ort-tensorrt", "ort-rtx", "ort-webgpu")
_FP32_ALONE = ("ort-webgpu",)  # which refuses the others
_SOAK_S = 120
_PYTHON = (sys.executable, "-m")


@dataclass(frozen=True, slots=True)
class DeviceRun:
    """What to run: engines; TorchScript files of the original, to be timed on the GPU beside them.

    dry: no GPU is expected, and every figure is taken once.
    """

    runtimes: tuple[str, ...] = RUNTIMES
    baseline: tuple[Path, ...] = ()
    dry: bool = False


def steps_of(bundle: Bundle, wanted: DeviceRun, folder: Path) -> Iterator[DeviceStep]:
    """All steps, in order. folder: for the reports of the bench."""
    precisions = [name for name in ("fp32", "fp16", "int8", *bundle.card.precisions) if name in bundle.card.precisions]
    precisions = list(dict.fromkeys(precisions))[: 1 if wanted.dry else None]
    of = {runtime: ["fp32"] if runtime in _FP32_ALONE else precisions for runtime in wanted.runtimes}
    yield check("facts", 240, on_gpu=False)
    yield edgebird("doctor", 300, "doctor", on_gpu=False)
    yield check("cuda", 120)
    if sanitizer := shutil.which("compute-sanitizer"):
        options = ("--tool", "memcheck", "--report-api-errors", "no", "--error-exitcode", "9")
        yield DeviceStep("memcheck", (sanitizer, *options, *check("cuda", 0).command), 120)
    for runtime in wanted.runtimes:
        yield from _right(bundle, runtime, of[runtime])
    if "ort-cuda" in wanted.runtimes:
        yield check("feeding", 120, str(bundle.path), *(("1",) if wanted.dry else ()))
        yield check("algorithms", 300, str(bundle.path))
        yield check("tf32", 120, str(bundle.path))
        yield check("options", 300, str(bundle.path))
        yield check("lanes", 120, str(bundle.path))
        yield check("energy", 120, str(bundle.path))
        yield check("kernels", 240, str(bundle.path))
    for runtime in wanted.runtimes:
        for file in wanted.baseline[:1]:
            given = (str(bundle.path), runtime, ",".join(of[runtime]), str(file))
            yield check(f"targets.{runtime}", 300, *given, *(("1,4",) if wanted.dry else ()), what="targets")
        yield from _fast(bundle, runtime, of[runtime], wanted, folder)


def _right(bundle: Bundle, runtime: str, precisions: Sequence[str]) -> Iterator[DeviceStep]:
    for precision in precisions:
        engine = (str(bundle.path), "--runtime", runtime, "--precision", precision)
        if runtime in MODULES:
            yield edgebird(f"build.{runtime}.{precision}", 1200, "build", *engine, "--rebuild", "-v")
        yield edgebird(f"verify.{runtime}.{precision}", 300, "verify", *engine, "--json", "-v")


def _fast(
    bundle: Bundle, runtime: str, precisions: Sequence[str], wanted: DeviceRun, folder: Path
) -> Iterator[DeviceStep]:
    """Each precision beside the others and the original, in turns; then the last alone: capacity, and two minutes."""
    engine, last = (str(bundle.path), "--runtime", runtime), ("--precision", precisions[-1])
    every = [part for precision in precisions for part in ("--precision", precision)]
    original = [part for file in wanted.baseline for part in ("--baseline", str(file))]
    original += ["--baseline-device", "cuda"] if original else []
    short = ("--seconds", "0", "--iterations", "1") if wanted.dry else ("--seconds", "5")
    soak = ("--seconds", "1" if wanted.dry else str(_SOAK_S))
    for scenario, limit, options in (
        ("single", 300, (*every, *original, *short)),
        ("offline", 300, (*every, "--batch", "1", "--batch", "8", "--batch", "64", *short)),
        ("multi", 300, (*last, "--hop", "0.25", "--streams", "64", *short)),
        ("listen", _SOAK_S + 120, (*last, "--streams", "16", *soak)),
    ):
        name = f"bench.{runtime}.{scenario}"
        files = ("--json", str(folder / f"{name}.json"))
        yield edgebird(name, limit, "bench", *engine, "--scenario", scenario, *options, *files)
    yield check(f"detect.{runtime}", 300, *engine[::2], precisions[-1], what="detect")


def check(name: str, limit_s: float, *arguments: str, what: str = "", on_gpu: bool = True) -> DeviceStep:
    """A step that is one of `checks`."""
    command = (*_PYTHON, "edgebird.benchmarks.device.checks", what or name, *arguments)
    return DeviceStep(f"check.{name}", command, limit_s, on_gpu)


def edgebird(name: str, limit_s: float, *arguments: str, on_gpu: bool = True) -> DeviceStep:
    """A step that is a command of edgebird."""
    return DeviceStep(name, (*_PYTHON, "edgebird", *arguments), limit_s, on_gpu)
