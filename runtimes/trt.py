"""TensorRT and TensorRT-RTX: engines that `edgebird build` made, run with numpy and cuda-python alone.

Only what TensorRT 10.3, 10.13, 10.16, 11 and TensorRT-RTX 1.7 have in common is used here; `tests/test_engine.py`
holds it to that.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgebird.bundle import Bundle
from edgebird.card import FLOOR_GROUP, Card
from edgebird.errors import BundleError, OutputError, ParityError, RuntimeUnavailableError, ScoreError
from edgebird.machine import l4t
from edgebird.parity import TOLERANCES, Parity, compare, score_in_groups
from edgebird.runtimes import Runtime, RuntimeOptions
from edgebird.runtimes.contract import check_graph, check_open, check_windows, to_scores, warm_up, worth_giving
from edgebird.runtimes.gpu import Buffer, Cuda, CudaError, Gpu, Stopwatch, open_cuda
from edgebird.runtimes.sidecar import ENGINES, Sidecar, build_command, find_engine, proof_place, require_engine
from edgebird.types import FloatArray

log = logging.getLogger(__name__)

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}  # runtime -> Python module
_OLDEST = (10, 3)  # of TensorRT: strongly typed networks with all that these graphs have


def import_tensorrt(name: str) -> ModuleType:
    """The Python module of a runtime. Raises RuntimeUnavailableError saying which is needed and how to get it."""
    try:
        trt = importlib.import_module(MODULES[name])
    except ImportError as error:  # also where the bindings are there and the libraries are not
        raise RuntimeUnavailableError(f"{name} needs TensorRT: {how_to_install(name)} ({error})") from error
    version = tuple(int(number) for number in re.findall(r"\d+", trt.__version__)[:2])
    if name == "tensorrt" and version < _OLDEST:
        raise RuntimeUnavailableError(
            f"{name} needs TensorRT 10.3 or newer (on a Jetson JetPack 6.1), here is {trt.__version__}"
        )
    return trt


def how_to_install(name: str) -> str:
    """The command that brings the TensorRT of a runtime."""
    if name == "tensorrt-rtx":
        return "pip install 'edgebird[tensorrt-rtx]'"
    if l4t():
        return "sudo apt install python3-libnvinfer, in a venv with --system-site-packages"
    return "pip install tensorrt, for a driver of CUDA 12 pip install tensorrt-cu12"


def title(trt: ModuleType) -> str:
    """What the user calls it: `TensorRT 10.3.0`."""
    return f"{'TensorRT-RTX' if trt.__name__ == MODULES['tensorrt-rtx'] else 'TensorRT'} {trt.__version__}"


@dataclass(slots=True)
class TrtLog:
    """What TensorRT said: everything of weight goes to the log as it comes; problems and memory figures are kept."""

    problems: list[str] = field(default_factory=list)
    memory: list[str] = field(default_factory=list)

    def take(self, level: str, message: str) -> None:
        """Take a message of level VERBOSE, INFO, WARNING, ERROR or INTERNAL_ERROR."""
        if level == "VERBOSE":
            return  # thousands of lines
        if level in ("ERROR", "INTERNAL_ERROR"):
            self.problems.append(message)
        if "Peak memory usage" in message:
            self.memory.append(message)
        log.debug("TensorRT %s: %s", level.lower(), message)

    def explain(self, otherwise: str) -> str:
        """One line: the last problem and how many there were before it; `otherwise` if it told none.

        The last is what ended it: kernels that were tried and skipped are told as errors, too.
        """
        if not self.problems:
            return otherwise
        more = len(self.problems) - 1
        return " ".join(self.problems[-1].split())[:400] + (f" (and {more} more: see -v)" if more else "")


def make_logger(trt: ModuleType, to: TrtLog) -> Any:
    """A TensorRT logger that tells `to`; it must live as long as what is made with it."""

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            to.take(severity.name, msg)

    return Logger()


def dtype_name(dtype: Any) -> str:
    """`DataType.FLOAT` -> `float32`; others as TensorRT calls them."""
    return "float32" if dtype.name == "FLOAT" else str(dtype.name).lower()


def free_batch(shape: Any) -> tuple[int | str, ...]:
    """A shape as cards have it: -1, a dimension that is free, gets a name."""
    return tuple("batch" if size == -1 else int(size) for size in shape)


@dataclass(slots=True)
class _Lane:
    """What runs a batch size: an execution context of its own, and a CUDA graph of an inference once it has one.

    A graph belongs to the state that its context had when it was recorded, so contexts are not shared.
    """

    batch: int
    context: Any
    graph: Any = None


class TrtRuntime:
    """See `Runtime`. Batches are fed in pieces of `group`: what the profile allows, or the windows that share a floor.
    A piece is filled with zeros up to the next of a few sizes (`_lane_size`): no floor rises by them.

    engine: an ICudaEngine. Takes its buffers at once, the working memory of a size when it is first used; raises
    BundleError if the engine does not fit the card, RuntimeUnavailableError if CUDA or TensorRT refuse.
    """

    at_once = 1

    def __init__(self, engine: Any, name: str, card: Card, cuda: Cuda, trt_log: TrtLog) -> None:
        self.name, self.card = name, card
        self.gpu = cuda.gpu()
        self.provider = f"{self.gpu.name} ({self.gpu.capability})"
        self._engine, self._cuda, self._log = engine, cuda, trt_log
        self._lanes: dict[int, _Lane] = {}
        self._check_engine()
        self._fixed = card.fixed_batch is not None
        self.max_batch = card.fixed_batch or int(self._profile()[2][0])
        self.group = worth_giving(card, self.max_batch)  # the graph takes the floor of all that it is given
        if self.group > self.max_batch:
            told = f"the engine takes {self.max_batch} windows at once, this bundle scores {self.group}"
            raise BundleError(f"{name}: {told}")
        self._resources = ExitStack()
        with ExitStack() as undo:  # of what was taken before something failed
            undo.callback(self.close)
            self._stream = self._keep("cudaStreamDestroy", cuda("cudaStreamCreate"))
            self._input = self._buffer(card.window_samples)
            self._output = self._buffer(len(card.labels))
            undo.pop_all()

    def _keep(self, destroy: str, resource: Any) -> Any:
        self._resources.callback(self._cuda, destroy, resource)
        return resource

    def _buffer(self, columns: int) -> Buffer:
        buffer = Buffer(self._cuda, (self.max_batch, columns), self.gpu.integrated)
        self._resources.callback(buffer.free)
        return buffer

    def _check_engine(self) -> None:
        engine = self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        found = {n: (dtype_name(engine.get_tensor_dtype(n)), free_batch(engine.get_tensor_shape(n))) for n in names}
        check_graph(f"{self.name} engine", found, self.card)

    def _profile(self) -> Any:
        """Least, best and largest shape of the input."""
        engine = self._engine
        return engine.get_tensor_profile_shape(self.card.input.name, 0)

    def infer(self, windows: FloatArray) -> FloatArray:
        """[batch, window_samples] -> [batch, classes]; see `Runtime`."""
        check_open(self.name, self._engine is not None)
        check_windows(windows, self.card)
        return to_scores(score_in_groups(self._score, windows, self.group), len(windows), self.card)

    def _score(self, windows: FloatArray) -> FloatArray:
        """At most `max_batch` windows; the result is a copy."""
        count, batch = len(windows), self._lane_size(len(windows))
        self._fill(windows, batch)
        lane = self._lanes.get(batch) or self._new_lane(batch)
        if lane.graph is None:
            self._enqueue(lane)
        else:
            self._launch(lane)
        self._cuda("cudaStreamSynchronize", self._stream)
        scores: FloatArray = self._output.host[:count].copy()
        if batch not in self._lanes:
            self._lanes[batch] = lane
            self._record(lane)
        return scores

    def _lane_size(self, count: int) -> int:
        """The batch that scores so many windows: 1, 2, 4, 8, ... or `max_batch`, as each of them takes memory."""
        return self.max_batch if self._fixed else min(1 << (count - 1).bit_length(), self.max_batch)

    def _fill(self, windows: FloatArray, batch: int) -> None:
        self._input.host[: len(windows)] = windows
        self._input.host[len(windows) : batch] = 0

    def _new_lane(self, batch: int) -> _Lane:
        engine, card = self._engine, self.card
        context = engine.create_execution_context()
        if context is None:
            raise self._refused(f"no execution context for {batch} windows", "out of memory?")
        shape = (batch, card.window_samples)
        if not context.set_input_shape(card.input.name, shape):
            raise self._refused(f"input shape {list(shape)} refused", "outside of its profile")
        for tensor, buffer in ((card.input, self._input), (card.output, self._output)):
            if not context.set_tensor_address(tensor.name, buffer.device):
                raise self._refused(f"address of {tensor.name} refused", "no reason given")
        told = tuple(context.get_tensor_shape(card.output.name))
        if told != (batch, len(card.labels)):
            raise BundleError(f"the engine gives {list(told)}, wanted {[batch, len(card.labels)]}: not for this bundle")
        return _Lane(batch, context)

    def _enqueue(self, lane: _Lane, mark: Callable[[], None] = lambda: None) -> None:
        """Start copy, inference and copy on the stream; `mark` is called between and around them."""
        context = lane.context
        mark()
        self._input.upload(lane.batch, self._stream)
        mark()
        if not context.execute_async_v3(int(self._stream)):
            raise self._refused(f"inference of {lane.batch} windows failed", "no reason given")
        mark()
        self._output.download(lane.batch, self._stream)
        mark()

    # --------------------------------------------------------------------------------------------------- for the bench
    def includes(self, batch: int) -> str:
        """What a time of `infer` has in it."""
        copies = "GPU and CPU share their memory, no copies" if self.gpu.integrated else "copies to and from the GPU"
        lane = self._lanes.get(self._lane_size(batch))
        return f"{copies}; {'a CUDA graph' if lane and lane.graph is not None else 'no CUDA graph'}"

    def split(self, windows: FloatArray) -> dict[str, float]:
        """Milliseconds of the parts of an inference of windows that were scored before, as many at once.

        h2d, compute and d2h are the GPU's time for copy, inference and copy, started one by one; enqueue is the CPU's
        time to start them. With a CUDA graph there are also the GPU's and the CPU's time of that one launch. Where
        nothing is copied there are no copies.
        """
        windows = windows[: self.group]
        lane = self._lanes[self._lane_size(len(windows))]
        self._fill(windows, lane.batch)
        (h2d, compute, d2h), enqueue = self._timed(lambda mark: self._enqueue(lane, mark))
        parts = {"compute": compute, "enqueue": enqueue}
        if not self.gpu.integrated:
            parts |= {"h2d": h2d, "d2h": d2h}
        if lane.graph is not None:
            (parts["graph"],), parts["graph_launch"] = self._timed(lambda mark: self._launch(lane, mark))
        return parts

    def _launch(self, lane: _Lane, mark: Callable[[], None] = lambda: None) -> None:
        mark()
        self._cuda("cudaGraphLaunch", lane.graph, self._stream)
        mark()

    def _timed(self, start: Callable[[Callable[[], None]], None]) -> tuple[list[float], float]:
        """Milliseconds between the marks that `start` makes, by the GPU, and those that starting took, by the CPU."""
        watch = Stopwatch(self._cuda, self._stream)
        try:
            begin = time.perf_counter()
            start(watch.mark)
            starting = (time.perf_counter() - begin) * 1e3
            self._cuda("cudaStreamSynchronize", self._stream)
            return watch.milliseconds(), starting
        finally:
            watch.free()

    # --------------------------------------------------------------------------------------------------------- a graph
    def _record(self, lane: _Lane) -> None:
        """Record an inference as a CUDA graph, which takes one launch instead of hundreds, where that works."""
        cuda, stream = self._cuda, self._stream
        mode = cuda.constant("cudaStreamCaptureModeThreadLocal", "cudaStreamCaptureMode")
        try:
            cuda("cudaStreamBeginCapture", stream, mode)
            try:
                self._enqueue(lane)
            finally:
                graph = cuda("cudaStreamEndCapture", stream)
            try:
                lane.graph = self._keep("cudaGraphExecDestroy", cuda("cudaGraphInstantiate", graph, 0))
            finally:
                cuda("cudaGraphDestroy", graph)
        except RuntimeUnavailableError as error:
            cuda.forget_error()
            log.debug("%s: no CUDA graph for %d windows: %s", self.name, lane.batch, error)

    def _refused(self, what: str, otherwise: str) -> RuntimeUnavailableError:
        problem = self._log.explain(otherwise)
        self._log.problems.clear()
        return RuntimeUnavailableError(f"{self.name}: {what}: {problem}")

    def close(self) -> None:
        """Free everything, the engine last."""
        if self._engine is None:
            return
        try:
            self._resources.close()
        except CudaError as error:  # after a failure of the GPU nothing can be freed but by the end of the process
            log.debug("%s: %s", self.name, error)
        self._lanes.clear()
        self._engine = None


def open_runtime(bundle: Bundle, name: str, options: RuntimeOptions) -> Runtime:
    """Open the bundle's engine for this GPU, warmed up, and prove it if that was not done here yet."""
    return open_engine(bundle, name, options, bundle.path / ENGINES)


def open_engine(bundle: Bundle, name: str, options: RuntimeOptions, folder: Path) -> TrtRuntime:
    """The same for an engine of the bundle that is in `folder`."""
    bundle.model(options.precision)
    if importlib.util.find_spec(MODULES[name]) is None:
        import_tensorrt(name)  # which tells how to get it
    require_engine(bundle, name, options.precision, folder)  # before anything heavy is imported
    trt, cuda = import_tensorrt(name), open_cuda(name)
    gpu = cuda.gpu()
    path, sidecar = find_engine(bundle, name, options.precision, trt.__version__, gpu, folder)
    trt_log = TrtLog()
    runtime = TrtRuntime(load_engine(trt, path, sidecar, trt_log), name, bundle.card, cuda, trt_log)
    with ExitStack() as undo:
        undo.callback(runtime.close)
        warm_up(runtime, options)
        if not sidecar.proven_on(gpu, trt.__version__):
            _prove_and_note(runtime, bundle, path, sidecar, proof_place(name, gpu, trt.__version__))
        undo.pop_all()
    log.debug("%s on %s, %s", title(trt), gpu, path.name)
    return runtime


def make_loader(trt: ModuleType, trt_log: TrtLog) -> Any:
    """What loads engines, a Runtime as TensorRT calls it. Raises RuntimeUnavailableError where it cannot start."""
    try:
        return trt.Runtime(make_logger(trt, trt_log))
    except TypeError as error:  # factory function returned nullptr
        raise cannot_start(trt, trt_log) from error


def cannot_start(trt: ModuleType, trt_log: TrtLog) -> RuntimeUnavailableError:
    """The error for a TensorRT that gives neither a Builder nor a Runtime."""
    reason = trt_log.explain("no NVIDIA GPU or driver here, or its build is for a newer CUDA than the driver's")
    return RuntimeUnavailableError(f"{title(trt)} cannot start: {reason}")


def load_engine(trt: ModuleType, path: Path, sidecar: Sidecar, trt_log: TrtLog) -> Any:
    """Deserialize an engine. Raises RuntimeUnavailableError with what TensorRT says."""
    loader = make_loader(trt, trt_log)
    if "VERSION_COMPATIBLE" in sidecar.flags:
        loader.engine_host_code_allowed = True  # it carries its own runtime
    engine = loader.deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        problem = trt_log.explain("no reason given")
        raise RuntimeUnavailableError(f"{path}: {title(trt)} cannot load this engine: {problem}")
    return engine


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
    """Run the golden windows at the batch sizes that detection and `verify` use.

    Raises ParityError, naming the worst window, or ScoreError.
    """
    golden = bundle.golden()
    sizes = (FLOOR_GROUP,) if bundle.card.db_floor == "batch" else (1, min(4, runtime.max_batch))
    windows, tolerance = golden.windows(), TOLERANCES[precision]
    scores = np.concatenate([score_in_groups(runtime.infer, windows, size) for size in sizes])
    parity = compare(np.tile(golden.scores, (len(sizes), 1)), scores, tolerance)
    if not parity.passes(tolerance):
        worst = golden.names[parity.worst_window % len(golden.names)]
        raise ParityError(
            f"the engine does not score as the original network did: scores differ by up to {parity.max_abs:.2g} "
            f"(allowed {tolerance.max:g}; 99 %: {parity.p99:.2g}, allowed {tolerance.p99:g}), the top label agrees in "
            f"{parity.top1_agreement:.0%} of the windows, worst window {worst!r}"
        )
    return parity


def probe(name: str) -> str:
    """Versions and the GPU, if there is one; whether a bundle has an engine for it is seen when it is opened."""
    trt = import_tensorrt(name)
    gpu: Gpu = open_cuda(name).gpu()
    make_loader(trt, TrtLog())
    return f"{title(trt)}, {gpu}"
