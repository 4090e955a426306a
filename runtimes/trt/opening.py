"""Opens the engine of a bundle: the file that fits, proven on this GPU before anyone scores with it."""

from __future__ import annotations

import importlib.util
import logging
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from edgebird.bundle import Bundle
from edgebird.card import floor_group
from edgebird.errors import OutputError, ParityError, RuntimeUnavailableError, ScoreError
from edgebird.parity import Parity
from edgebird.parity import prove as prove_scores
from edgebird.runtimes import Runtime, RuntimeOptions, open_apart
from edgebird.runtimes.contract import warm_up
from edgebird.runtimes.trt.bindings import MODULES, TrtLog, import_tensorrt, make_loader, title
from edgebird.runtimes.trt.contexts import LoadedEngine
from edgebird.runtimes.trt.gpu import Gpu, has_cuda_python, open_cuda
from edgebird.runtimes.trt.runtime import TrtRuntime
from edgebird.runtimes.trt.sidecar import (
    ENGINES,
    FoundEngine,
    Sidecar,
    build_command,
    engine_path,
    find_engine,
    proof_place,
    require_engine,
)
from edgebird.runtimes.trt.trust import kernel_cache, was_built_here

log = logging.getLogger(__name__)


def open_runtime(bundle: Bundle, name: str, options: RuntimeOptions) -> Runtime:
    """Open the bundle's engine for this GPU, warmed up, and prove it if that was not done here yet."""
    bundle.model(options.precision)
    engine = engine_path(bundle.path / ENGINES, name, options.precision)
    if engine.is_file():
        open_apart(bundle, name, options, str(engine.stat().st_mtime_ns))
    return open_engine(bundle, name, options, bundle.path / ENGINES)


def open_engine(bundle: Bundle, name: str, options: RuntimeOptions, folder: Path) -> TrtRuntime:
    """The same for an engine of the bundle that is in `folder`."""
    bundle.model(options.precision)
    if importlib.util.find_spec(MODULES[name]) is None:
        import_tensorrt(name)  # which tells how to get it
    if not has_cuda_python():
        open_cuda(name)
    require_engine(bundle, name, options.precision, folder)  # before anything heavy is imported
    trt, cuda = import_tensorrt(name), open_cuda(name)
    gpu = cuda.gpu()
    found = find_engine(bundle, name, options.precision, trt.__version__, gpu, folder)
    path, sidecar = found.path, found.sidecar
    compiled = kernel_cache(gpu, trt.__version__, sidecar.engine_sha256) if name == "tensorrt-rtx" else None
    runtime = TrtRuntime(load_engine(trt, found, bundle, compiled), name, bundle.card, cuda, options.outputs)
    with ExitStack() as undo:
        undo.callback(runtime.close)
        if options.measure:
            runtime.find_group()
        warm_up(runtime, options, runtime.sizes)
        if not sidecar.proven_on(gpu, trt.__version__):
            _prove_and_note(runtime, bundle, path, sidecar, proof_place(name, gpu, trt.__version__))
        runtime.keep_compiled()
        undo.pop_all()
    log.debug("%s on %s, %s", title(trt), gpu, path.name)
    return runtime


def load_engine(trt: ModuleType, found: FoundEngine, bundle: Bundle, compiled: Path | None) -> LoadedEngine:
    """Deserialize the bytes of an engine. compiled: see `LoadedEngine`.

    Raises RuntimeUnavailableError with what TensorRT says, or where the engine carries code for the CPU and was not
    built here.
    """
    trt_log, sidecar = TrtLog(), found.sidecar
    loader = make_loader(trt, trt_log)
    if "VERSION_COMPATIBLE" in sidecar.flags:
        if not was_built_here(sidecar.engine_sha256):
            command = build_command(bundle, sidecar.runtime, sidecar.precision, rebuild=True)
            told = "it brings code of its own (--version-compatible) and was not built by this user on this computer"
            raise RuntimeUnavailableError(f"{found.path}: {told}; build it here: {command} --version-compatible")
        loader.engine_host_code_allowed = True  # it carries its own runtime
    engine = loader.deserialize_cuda_engine(found.content)
    if engine is None:
        problem = trt_log.explain("no reason given")
        raise RuntimeUnavailableError(f"{found.path}: {title(trt)} cannot load this engine: {problem}")
    return LoadedEngine(trt, engine, trt_log, compiled)


def _prove_and_note(runtime: TrtRuntime, bundle: Bundle, path: Path, sidecar: Sidecar, place: dict[str, Any]) -> None:
    if bundle.card.golden is None:
        log.warning("%s: the bundle has no golden data, so nothing proves this engine", path)
        return
    try:
        parity = prove(runtime, bundle, sidecar.precision)
    except (ParityError, ScoreError) as error:
        command = build_command(bundle, runtime.name, sidecar.precision, rebuild=True)
        raise type(error)(f"{path}: {error}; build it again ({command}) or take another precision") from error
    proven = replace(sidecar, parity={**place, **parity.to_json()})
    with suppress(OutputError):  # a bundle that cannot be written to is proven each time
        proven.write(path.with_suffix(".json"))


def prove(runtime: TrtRuntime, bundle: Bundle, precision: str) -> Parity:
    """Run the golden windows at the batch sizes that detection and `verify` use, and at the engine's largest.

    Raises ParityError, naming the worst window, or ScoreError.
    """
    card = bundle.card
    proof = prove_scores(
        runtime.infer,
        bundle.golden(),
        card.proof_sizes(runtime.max_batch),
        card.tolerance(precision),
        floor_group(card.db_floor),
    )
    return proof.require("the engine does not score as the original network did", card.codes)


def probe(name: str) -> str:
    """Versions and the GPU, if there is one; whether a bundle has an engine for it is seen when it is opened."""
    trt = import_tensorrt(name)
    gpu: Gpu = open_cuda(name).gpu()
    make_loader(trt, TrtLog())
    return f"{title(trt)}, {gpu}"
