"""ONNX Runtime's providers that come as packages of their own: WebGPU (Vulkan GPUs of any make) and TensorRT-RTX.

Such a provider is a library that is registered, and runs on the devices that it then lists. The device is given to the
session, not the provider's name: asked for by name, TensorRT-RTX would run on the CPU. Neither was ever run on a GPU.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edgebird.bundle import Bundle
from edgebird.card import Card
from edgebird.errors import NotInstalledError, RuntimeUnavailableError
from edgebird.files import cache_folder
from edgebird.machine import installed_version
from edgebird.runtimes import Runtime, RuntimeOptions, open_apart
from edgebird.runtimes.contract import (
    check_graph,
    check_open,
    engine_errors,
    preferred_batch,
    prepared,
    run_in_batches,
    warm_up,
)
from edgebird.runtimes.ort_libraries import gpus_here
from edgebird.runtimes.ort_session import TINY, dtype_of, first_line, make_strict
from edgebird.runtimes.outputs import Outputs
from edgebird.types import FloatArray

log = logging.getLogger(__name__)

SOFTWARE = "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"  # the provider's own variable: 1 lets it compute on the CPU
_SOFTWARE_DRIVERS = "*lvp*,*lavapipe*,*swiftshader*"  # Mesa's and Google's, by the names of their manifests
_SIZES = (1, 2, 4)  # of batches; chosen without a GPU at hand
_SHOWN = 3  # nodes that an error names
_lock = threading.Lock()
_registered: set[str] = set()  # runtimes; a process registers a library once


@dataclass(frozen=True, slots=True)
class _Plugin:
    """A provider in a package of its own.

    module, distribution: of Python. provider: as ONNX Runtime calls it. extra: of edgebird, which brings it.
    refuses: precision -> why it is not run. no_device: what to say where it lists none.
    failures: part of what it says -> what that means. libraries: of its package, to be loaded before it.
    """

    module: str
    distribution: str
    provider: str
    extra: str
    refuses: dict[str, str]
    no_device: str
    failures: dict[str, str]
    libraries: str = ""


_PLUGINS = {
    "ort-webgpu": _Plugin(
        module="onnxruntime_ep_webgpu",
        distribution="onnxruntime-ep-webgpu",
        provider="WebGpuExecutionProvider",
        extra="webgpu",
        refuses={
            **dict.fromkeys(("int8", "int8+fp16"), "it has no kernel for QuantizeLinear, which would run on the CPU"),
            "fp16": "not every GPU computes FP16 in Vulkan, and on none was it proven",
        },
        no_device=f"no GPU in /sys/class/drm ({SOFTWARE}=1 lets it compute on the CPU, which is slow and for trials)",
        failures={
            "Failed to get a WebGPU adapter": "no Vulkan driver that it can use: install libvulkan1 and that of the "
            "GPU, for AMD and Intel mesa-vulkan-drivers",
        },
    ),
    "ort-rtx": _Plugin(
        module="onnxruntime_ep_nv_tensorrt_rtx",
        distribution="onnxruntime-ep-nv-tensorrt-rtx",
        provider="NvTensorRTRTXExecutionProvider",
        extra="rtx",
        refuses={},
        no_device="no GPU that TensorRT-RTX takes (GeForce and RTX from Ampere on)",
        failures={
            f"{library}: cannot open": f"{library} is missing: install the NVIDIA driver; in a container start it "
            "with --gpus all"
            for library in ("libcuda.so.1", "libnvidia-ml.so.1")
        },
        libraries="libcudart.so.*",  # which it otherwise looks for on the library path
    ),
}


# -------------------------------------------------------------------------------------------------------- the provider
def _onnxruntime(name: str) -> Any:
    """ONNX Runtime with the library of the provider in it."""
    plugin = _PLUGINS[name]
    spec = importlib.util.find_spec(plugin.module)
    if spec is None or not spec.submodule_search_locations:
        raise NotInstalledError(f"{name} needs {plugin.distribution}: {_install(plugin)}")
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise NotInstalledError(f"{name} needs ONNX Runtime: {_install(plugin)} ({error})") from error
    if not hasattr(ort, "register_execution_provider_library"):
        raise RuntimeUnavailableError(f"{name} needs ONNX Runtime 1.24.4 or newer, here is {ort.__version__}")
    ort.set_default_logger_severity(4)  # it warns of a variable that somebody set on purpose
    with _lock, engine_errors(name, "cannot load its provider", _told(plugin)):
        if name not in _registered:
            library = _library(plugin, Path(spec.submodule_search_locations[0]))
            ort.register_execution_provider_library(f"edgebird.{name}", library)
            _registered.add(name)
    return ort


def _install(plugin: _Plugin) -> str:
    return f"pip install 'edgebird[{plugin.extra}]' (docs/gpu.md)"


def _library(plugin: _Plugin, folder: Path) -> str:
    """The path of the provider's library, when what it needs is loaded."""
    for library in sorted(folder.glob(plugin.libraries)) if plugin.libraries else ():
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    paths = os.environ.get("LD_LIBRARY_PATH")
    module = importlib.import_module(plugin.module)
    if paths is None:  # TensorRT-RTX's sets it for all programs that are started from here
        os.environ.pop("LD_LIBRARY_PATH", None)
    else:
        os.environ["LD_LIBRARY_PATH"] = paths
    return str(module.get_library_path())


def _told(plugin: _Plugin) -> Callable[[Exception], str]:
    """What an error of the provider means, in a line."""

    def told(error: Exception) -> str:
        known = [meaning for text, meaning in plugin.failures.items() if text in str(error)]
        return known[0] if known else first_line(error)

    return told


def _device(ort: ModuleType, name: str) -> Any:
    """The device to run on: a GPU, or the CPU where that was allowed and there is no other."""
    plugin = _PLUGINS[name]
    listed = [device for device in ort.get_ep_devices() if device.ep_name == plugin.provider]
    gpus = [device for device in listed if not _is_software(ort, device)]
    if not gpus and (not listed or os.environ.get(SOFTWARE) != "1"):
        raise RuntimeUnavailableError(f"{name}: {plugin.no_device}")
    if gpus and name == "ort-webgpu":  # Vulkan would offer a software driver too, and that might be taken
        given = os.environ.get("VK_LOADER_DRIVERS_DISABLE", "")
        if _SOFTWARE_DRIVERS not in given:
            os.environ["VK_LOADER_DRIVERS_DISABLE"] = f"{given},{_SOFTWARE_DRIVERS}".lstrip(",")
    return (gpus or listed)[0]


def _is_software(ort: ModuleType, device: Any) -> bool:
    return bool(device.device.type == ort.OrtHardwareDeviceType.CPU)


def _words(ort: ModuleType, name: str, device: Any) -> str:
    """What runs, such as `WebGpuExecutionProvider 0.4.0 on the GPU 0x1002:0x744c`."""
    plugin, hardware = _PLUGINS[name], device.device
    what = f"{plugin.provider} {installed_version(plugin.distribution) or ''}".strip()
    if _is_software(ort, device):
        return f"{what} in software on the CPU"
    return f"{what} on the GPU {hardware.vendor_id:#06x}:{hardware.device_id:#06x}"


# --------------------------------------------------------------------------------------------------------- the session
def _session(ort: ModuleType, name: str, model: bytes | Path, device: Any, settings: dict[str, str]) -> Any:
    """A session on the device and nowhere else. Raises RuntimeUnavailableError."""
    plugin = _PLUGINS[name]
    given = model if isinstance(model, bytes) else str(model)
    options = ort.SessionOptions()
    make_strict(ort, options)
    options.add_provider_for_devices([device], settings)
    try:
        session = ort.InferenceSession(given, options, enable_fallback=0)
    except Exception as error:
        if "fallback to CPU EP has been explicitly disabled" in str(error):
            left = _left_to_cpu(ort, plugin.provider, given, device, settings)
            raise RuntimeUnavailableError(
                f"{name}: {plugin.provider} does not take all of the graph: {left}"
            ) from error
        raise RuntimeUnavailableError(f"{name}: {_told(plugin)(error)}") from error
    if session.get_providers()[:1] != [plugin.provider]:
        raise RuntimeUnavailableError(f"{name}: ONNX Runtime took {session.get_providers()}")
    return session


def _left_to_cpu(ort: ModuleType, provider: str, given: bytes | str, device: Any, settings: dict[str, str]) -> str:
    """The first nodes of a refused graph that would run on the CPU: the refusal does not name them."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.add_provider_for_devices([device], settings)
    try:
        parts = ort.InferenceSession(given, options, enable_fallback=0).get_provider_graph_assignment_info()
    except Exception as error:  # noqa: BLE001  it was refused already
        log.debug("nodes that %s leaves: %s", provider, error)
        return "it does not say which nodes"
    nodes = [node for part in parts if part.ep_name != provider for node in part.get_nodes()]
    more = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else ""
    return ", ".join(f"{node.name} ({node.op_type})" for node in nodes[:_SHOWN]) + more


def _settings(bundle: Bundle, name: str) -> dict[str, str]:
    """What the provider is told."""
    if name != "ort-rtx":
        return {}
    given = {"enable_cuda_graph": "0"}
    if bundle.card.fixed_batch is None:
        for key, batch in (("min", 1), ("opt", 1), ("max", max(_SIZES))):
            given[f"nv_profile_{key}_shapes"] = f"{bundle.card.input.name}:{batch}x{bundle.card.window_samples}"
    version = installed_version(_PLUGINS[name].distribution)
    cache = cache_folder() / name / f"{version}-{gpus_here()}"  # what another version or GPU wrote is not read
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("kernels are compiled at each start: cannot write %s: %s", cache, error.strerror)
        return given
    return given | {"nv_runtime_cache_path": str(cache)}


class PluginRuntime:
    """See `Runtime`. provider: with its version and device.

    sizes: of the batches that are run, each another program for the GPU; other numbers of windows are filled up to the
    next with zeros.
    """

    concurrency = 1

    def __init__(
        self,
        session: Any,
        name: str,
        card: Card,
        provider: str,
        sizes: tuple[int, ...] = _SIZES,
        further: Sequence[str] = (),
    ) -> None:
        self.name, self.card, self.provider, self._outputs = name, card, provider, Outputs(card, further)
        self.sizes = sizes if card.fixed_batch is None else ()
        self.batch_size = preferred_batch(card, max(self.sizes, default=1))
        self._session = session

    def includes(self, _batch: int) -> str:
        """What a time of `infer` has in it, for the bench."""
        return "copies to and from the device"

    def infer(self, windows: FloatArray) -> FloatArray:
        """[batch, window_samples] -> [batch, classes]; see `Runtime`."""
        return self._outputs.scores(self._score(windows), len(windows))

    def infer_outputs(self, windows: FloatArray) -> dict[str, FloatArray]:
        """See `Runtime`."""
        return self._outputs.named(self._score(windows), len(windows))

    def _score(self, windows: FloatArray) -> FloatArray:
        check_open(self.name, self._session is not None)
        windows = prepared(windows, self.card)
        return run_in_batches(self._run, windows, self.card, largest=max(self.sizes, default=None))

    def _run(self, windows: FloatArray) -> FloatArray:
        count = len(windows)
        size = next((size for size in self.sizes if size >= count), count)
        filled = np.pad(windows, ((0, size - count), (0, 0)))
        with engine_errors(self.name, "ONNX Runtime failed", _told(_PLUGINS[self.name])):
            values = self._session.run(self._outputs.names, {self.card.input.name: filled})
        return self._outputs.joined(dict(zip(self._outputs.names, values, strict=True)))[:count]

    def close(self) -> None:
        """Free the session."""
        self._session = None


def open_runtime(bundle: Bundle, name: str, options: RuntimeOptions) -> Runtime:
    """Open a graph of the bundle on a device of the provider of runtime `name`, warmed up."""
    model, plugin = bundle.model(options.precision), _PLUGINS[name]
    if why := plugin.refuses.get(options.precision):
        raise RuntimeUnavailableError(f"{name}: no {options.precision}: {why}; take --precision fp32")
    open_apart(bundle, name, options, os.environ.get(SOFTWARE, ""))
    ort = _onnxruntime(name)
    device = _device(ort, name)
    session = _session(ort, name, model, device, _settings(bundle, name))
    found = {t.name: (dtype_of(t.type), t.shape) for t in (*session.get_inputs(), *session.get_outputs())}
    check_graph(str(model), found, bundle.card)
    sizes: tuple[int, ...] = _SIZES
    if _is_software(ort, device):  # where a window takes seconds, and there is nothing to fill
        log.warning("%s computes on the CPU, because %s=1 allows it", name, SOFTWARE)
        sizes, options = (1,), replace(options, batches=options.batches or (1,))
    runtime = PluginRuntime(session, name, bundle.card, _words(ort, name, device), sizes, options.outputs)
    warm_up(runtime, options, runtime.sizes)
    return runtime


def probe(name: str) -> str:
    """Run a tiny model; the versions of ONNX Runtime and the provider, and its device."""
    ort = _onnxruntime(name)
    device = _device(ort, name)
    session = _session(ort, name, TINY, device, {})
    with engine_errors(name, "ONNX Runtime failed", _told(_PLUGINS[name])):
        session.run(None, {"x": np.zeros(1, np.float32)})
    return f"ONNX Runtime {ort.__version__}, {_words(ort, name, device)}"
