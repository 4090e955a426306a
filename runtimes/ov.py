"""OpenVINO on x86-64 and ARM64 CPUs, and on Intel's GPUs and NPUs.

Left alone, OpenVINO computes in bfloat16 wherever an x86 CPU can, and in float16 wherever an ARM CPU can (Cortex-A76
and newer): scores then are off by up to 0.2, and by 0.03. So the precision is always asked for, and compared with what
the device took. bf16 is the backbone's alone: the graph is cut at the tensors
that the card names, and frontend, pooling and head stay in float32. Of an INT8 graph, bf16 is what is not in INT8.
So is fp16 where an ARM CPU computes in it, after a proof on that CPU; other CPUs compute an FP16 graph in float32.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgebird.bundle import Bundle
from edgebird.card import Card, floor_group
from edgebird.files import atomic_text, cache_folder, file_sha256
from edgebird.parity import BF16_OF
from edgebird.runtimes import Runtime, RuntimeOptions, open_apart
from edgebird.runtimes.contract import (
    ParallelRuns,
    check_graph,
    check_open,
    cut,
    engine_errors,
    preferred_batch,
    prepared,
    run_in_batches,
    warm_up,
)
from edgebird.runtimes.outputs import Outputs
from edgebird.runtimes.ov_cut import parts_of
from edgebird.runtimes.ov_device import (
    ARM,
    DEVICES,
    REFUSED,
    abilities,
    check_bf16,
    compiled_for,
    core_of,
    reason,
    settings_of,
    version,
)
from edgebird.runtimes.proven import require_proof
from edgebird.types import FloatArray

log = logging.getLogger(__name__)

_SLOW_TO_COMPILE = ("GPU", "NPU")  # a CPU takes half a second, for which nothing is kept on the disk


class OpenVinoRuntime:
    """See `Runtime`.

    chains: for each stream the requests of a graph, or of its parts one behind the other. size: fixed batch of the
    graph, or None.
    """

    def __init__(
        self,
        chains: Sequence[Sequence[Any]],
        name: str,
        card: Card,
        size: int | None,
        further: Sequence[str] = (),
    ) -> None:
        self.name, self.card, self._outputs = name, card, Outputs(card, further)
        self.provider = f"OpenVINO {DEVICES[name]}"
        self._size = size
        self._chains = list(chains)
        runs = [partial(self._run, chain) for chain in chains]
        self.streams = ParallelRuns(runs, card, size) if len(runs) > 1 else None
        self.batch_size = self.streams.batch_size if self.streams else preferred_batch(card, 1)
        self.concurrency = self.streams.concurrency if self.streams else 1

    def infer(self, windows: FloatArray) -> FloatArray:
        """[batch, window_samples] -> [batch, classes]; see `Runtime`."""
        return self._outputs.scores(self._score(windows), len(windows))

    def infer_outputs(self, windows: FloatArray) -> dict[str, FloatArray]:
        """See `Runtime`."""
        return self._outputs.named(self._score(windows), len(windows))

    def _score(self, windows: FloatArray) -> FloatArray:
        check_open(self.name, bool(self._chains))
        windows = prepared(windows, self.card)
        if self.streams:
            return self.streams.run(windows)
        return run_in_batches(partial(self._run, self._chains[0]), windows, self.card, fixed=self._size)

    def _run(self, requests: Sequence[Any], windows: FloatArray) -> FloatArray:
        values = [windows]
        *before, last = requests
        with engine_errors(self.name, "OpenVINO failed", reason):
            for request in before:
                values = list(request.infer(values).values())
            # Its outputs by name, which are in no order that is promised. They are copies: what it gives is ours.
            named = {name: array for port, array in last.infer(values).items() for name in port.get_names()}
        return self._outputs.joined(named)

    def split(self, windows: FloatArray) -> dict[str, float]:
        """Milliseconds of the parts of an inference of windows [batch, window_samples], for `bench`; {} if it has one
        part alone.
        """
        check_open(self.name, bool(self._chains))
        windows, requests = prepared(windows, self.card), self._chains[0]
        names = ("frontend", "backbone", "head") if len(requests) == 3 else ()
        spent = dict.fromkeys(names, 0.0)
        for piece in cut(windows, self.card, fixed=self._size):
            values = [piece]
            for name, request in zip(names, requests, strict=False):
                start = time.perf_counter()
                values = list(request.infer(values).values())
                spent[name] += (time.perf_counter() - start) * 1e3
        return spent

    def close(self) -> None:
        """Free the compiled model."""
        if self.streams:
            self.streams.close()
        self.streams = None
        self._chains.clear()


def open_runtime(bundle: Bundle, name: str, options: RuntimeOptions) -> Runtime:
    """Compile a graph of the bundle (those of BF16_OF in parts) for the device of runtime `name`, warmed up."""
    card = bundle.card
    in_bf16 = options.precision in BF16_OF
    path = bundle.model(BF16_OF.get(options.precision, options.precision))
    open_apart(bundle, name, options)
    core, device = core_of(name)
    if in_bf16:
        check_bf16(core, device, name)
    with engine_errors(name, REFUSED, reason):
        model = core.read_model(path)
    check_graph(str(path), dict(found for port in (*model.inputs, *model.outputs) for found in _described(port)), card)
    size, shared = card.fixed_batch, floor_group(card.db_floor)
    # An NPU takes no maps of free sizes; a CPU plans those of fixed sizes better.
    if size is None and (device == "NPU" or (device == "CPU" and shared == 1)):
        size = shared
        with engine_errors(name, REFUSED, reason):
            model.reshape([size, card.window_samples])
    settings = settings_of(device, options)
    in_fp16 = options.precision == "fp16" and device == "CPU" and _computes_fp16(core, card)
    if in_bf16 or in_fp16:
        lower = "f16" if in_fp16 else "bf16"
        parts = [(part, lower if is_backbone else "f32") for part, is_backbone in parts_of(model, bundle)]
    else:
        parts = [(model, "dynamic" if options.precision == "fp16" and device != "CPU" else "f32")]
    with _kept_compiled(device, path) as cached:
        settings |= cached
        compiled = [
            compiled_for(core, part, name, settings | {"INFERENCE_PRECISION_HINT": hint}) for part, hint in parts
        ]
    streams = compiled[0].get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") if options.throughput else 1
    chains = [[model.create_infer_request() for model in compiled] for _ in range(streams)]
    runtime = OpenVinoRuntime(chains, name, card, size, options.outputs)
    try:
        warm_up(runtime, options)
        if in_fp16:
            require_proof(runtime, bundle, options.precision, version())
    except BaseException:
        runtime.close()
        raise
    return runtime


def probe(name: str) -> str:
    """Run a tiny model; OpenVINO's version, the device's name, the precisions it computes in."""
    core, device = core_of(name)
    import openvino as ov
    from openvino import opset13

    x = opset13.parameter([1], np.float32)
    tiny = ov.Model([opset13.relu(x)], [x], "tiny")
    compiled = compiled_for(core, tiny, name, {"INFERENCE_PRECISION_HINT": "f32"})
    compiled.create_infer_request().infer([np.zeros(1, np.float32)])
    able = [what for what in ("FP32", "BF16", "FP16", "INT8") if what in abilities(core, device)]
    return f"OpenVINO {version()}, {core.get_property(device, 'FULL_DEVICE_NAME')}, {' '.join(able)}"


def _computes_fp16(core: Any, card: Card) -> bool:
    """Whether a CPU is to compute the backbone of an FP16 graph in float16: an ARM one that can, and a graph of which
    nothing must stay in float32, for all of a part is in one precision.
    """
    able = platform.machine() in ARM and "FP16" in abilities(core, "CPU")
    return able and bool(card.images and card.maps) and not card.precisions["fp16"].kept


def _described(port: Any) -> Iterator[tuple[str, tuple[str, list[Any]]]]:
    """Each name, with dtype and shape, of an input or output; a free dimension is None."""
    kind = port.get_element_type().to_string()
    shape = [size.get_length() if size.is_static else None for size in port.get_partial_shape()]
    for name in sorted(port.get_names()) or ["?"]:
        yield name, ("float32" if kind == "f32" else kind, shape)


# ---------------------------------------------------------------------------------------------------------------- cache
@contextmanager
def _kept_compiled(device: str, path: Path) -> Iterator[dict[str, str]]:
    """Settings that keep what the body compiles in the user's cache folder, for devices that take long; a CPU does not.

    A folder for each version of OpenVINO and each graph. OpenVINO runs a damaged file without noticing (tried), so
    files whose SHA-256 was not noted when they were made are removed before.
    """
    if device not in _SLOW_TO_COMPILE:
        yield {}
        return
    folder = cache_folder() / f"openvino-{version()}" / file_sha256(path)[:16]
    noted = folder / "sha256"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        good = set(noted.read_text(encoding="utf-8").split()) if noted.exists() else set()
        for file in folder.glob("*.blob"):
            if file_sha256(file) not in good:
                file.unlink()
    except OSError as error:
        log.warning("nothing is kept compiled, each start takes as long: %s: %s", folder, error.strerror)
        yield {}
        return
    yield {"CACHE_DIR": str(folder)}
    with atomic_text(noted) as stream:
        stream.writelines(f"{file_sha256(file)}\n" for file in sorted(folder.glob("*.blob")))
