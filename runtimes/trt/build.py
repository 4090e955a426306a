"""Building TensorRT engines from a bundle: on the device that will run them, or ahead of time with TensorRT-RTX.

Needs neither torch nor onnx: a Jetson builds its own engine.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from edgebird.bundle import Bundle
from edgebird.errors import EdgebirdError, OutputError, RuntimeUnavailableError, UsageError
from edgebird.files import remove_orphans, sync, temporary_beside
from edgebird.machine import available_memory
from edgebird.runtimes import RuntimeOptions
from edgebird.runtimes.trt.bindings import import_tensorrt, title
from edgebird.runtimes.trt.gpu import Gpu, open_cuda
from edgebird.runtimes.trt.opening import open_engine
from edgebird.runtimes.trt.plan import Build, write_engine
from edgebird.runtimes.trt.request import EngineRequest, as_requested, check_capabilities, check_request
from edgebird.runtimes.trt.sidecar import ENGINES, engine_path, find_engine
from edgebird.runtimes.trt.trust import note_built, timing_cache, was_built_here

log = logging.getLogger(__name__)

_SHARE_OF_AVAILABLE = 0.8  # of the memory that nobody uses when a build begins


def build_engine(
    bundle: Bundle,
    request: EngineRequest,
    tell: Callable[[str], None] = lambda _line: None,
    progress: Callable[[str, float], None] = lambda _phase, _share: None,
) -> Path:
    """Build an engine and its sidecar, prove it if its GPU is here, return its path.

    On the device it goes into the bundle and must score the golden data as the original network did; one that does not
    is deleted, and one that was there before stays until the new one is proven. Compiled ahead of time it goes to
    `request.out`, unproven. tell: takes lines for the user; progress: takes the phase and the share that is done, on
    any thread.

    Raises RuntimeUnavailableError with TensorRT's reason, ParityError, ScoreError, UsageError, OutputError.
    """
    check_request(request)
    model = bundle.model(request.precision)
    if request.max_batch < max(bundle.card.batches):
        raise UsageError(f"--max-batch {request.max_batch}: this bundle scores {max(bundle.card.batches)} at once")
    trt = import_tensorrt(request.runtime)
    check_capabilities(trt, request)
    gpu = None if request.capabilities else _gpu_here(request)
    if gpu and not request.rebuild and (ready := _ready(bundle, request, trt, gpu)):
        tell(f"ready     {ready}: it fits and is proven; --rebuild builds it anew")
        return ready
    folder = request.out if request.out else bundle.path / ENGINES
    cache = None if gpu is None or request.runtime != "tensorrt" else timing_cache(gpu, trt.__version__)
    build = Build(trt, bundle, request, cache, _room(gpu))
    tell(f"building  {model.name} with {title(trt)} for {', '.join(request.capabilities) or gpu}")
    path = engine_path(folder, request.runtime, request.precision)
    with _aside(path) as built:
        sidecar = write_engine(build, built, gpu, progress)
        if request.version_compatible:
            note_built(sidecar.engine_sha256)  # it brings code, which runs for those built here alone
        tell(f"built     {path.name}: {sidecar.engine_bytes / 1e6:.1f} MB in {sidecar.build_seconds:.0f} s")
        if gpu is not None:
            _prove(bundle, request, built.parent, tell)
    tell(f"wrote     {path}")
    return path


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Where to build and prove an engine: with its sidecar it takes the place of `path` on success and goes on failure.

    It has its own name in a folder beside. Between the two moves nothing is loaded: the sidecar does not fit.
    """
    folder = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_orphans(path.parent.absolute())
        folder.mkdir()
    except OSError as failure:
        raise OutputError(f"cannot write {path.parent}: {failure.strerror}") from failure
    try:
        built = folder / path.name
        yield built
        try:
            built.replace(path)
            built.with_suffix(".json").replace(path.with_suffix(".json"))
            sync(path.parent)
        except OSError as failure:
            raise OutputError(f"cannot write {path}: {failure.strerror}") from failure
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _gpu_here(request: EngineRequest) -> Gpu:
    try:
        return open_cuda(request.runtime).gpu()
    except RuntimeUnavailableError as error:
        if request.runtime != "tensorrt-rtx":
            raise
        raise RuntimeUnavailableError(f"{error}; for a GPU that is not here: --for sm86 --out DIR") from error


def _room(gpu: Gpu | None) -> int | None:
    """Bytes that a build may take where the GPU has no memory of its own; None elsewhere.

    Left to itself TensorRT takes up to three quarters of all memory there. On a board of 8 GB that is more than the
    system and a station leave, and the kernel kills one of them.
    """
    available = available_memory() if gpu and gpu.integrated else None
    return None if available is None else int(_SHARE_OF_AVAILABLE * available)


def _ready(bundle: Bundle, request: EngineRequest, trt: ModuleType, gpu: Gpu) -> Path | None:
    """The engine that is there already, if it fits and is proven."""
    try:
        found = find_engine(bundle, request.runtime, request.precision, trt.__version__, gpu, bundle.path / ENGINES)
    except RuntimeUnavailableError as error:
        log.debug("%s", error)
        return None
    path, sidecar = found.path, found.sidecar
    if request.version_compatible and not was_built_here(sidecar.engine_sha256):
        return None
    proven = sidecar.proven_on(gpu, trt.__version__) or bundle.card.golden is None
    return path if proven and as_requested(sidecar, request) else None


def _prove(bundle: Bundle, request: EngineRequest, folder: Path, tell: Callable[[str], None]) -> None:
    """Open the engine in `folder` as it will be used, which runs the golden data through it."""
    try:
        open_engine(bundle, request.runtime, RuntimeOptions(request.precision), folder).close()
    except EdgebirdError as failure:
        reason = failure.__cause__ if isinstance(failure.__cause__, EdgebirdError) else failure
        raise type(failure)(f"the new {request.precision} engine was deleted: {reason}") from failure
    if bundle.card.golden is not None:
        tell("proven    on this GPU against the original network")
