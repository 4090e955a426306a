"""ONNX Runtime's providers in packages of their own, on a double of its interface to them that computes on the CPU.

What runs is the device that was asked for, all of the graph is there, and what keeps it from running is said in a line.
The real WebGPU provider passes tests/test_runtimes.py where a Vulkan device is, also one in software:

    pip install 'edgebird[webgpu]' -c constraints.txt
    ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER=1 VK_ICD_FILENAMES=/usr/lib/chromium/vk_swiftshader_icd.json \\
        python -m pytest tests/test_runtimes.py -k ort-webgpu
"""

from __future__ import annotations

import ctypes
import importlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgebird.bundle import Bundle
from edgebird.doctor import examine
from edgebird.errors import NotInstalledError, RuntimeUnavailableError
from edgebird.runtimes import RuntimeOptions, apart, open_runtime, ort_plugin, probe, probe_apart
from tests.conftest import require
from tests.foreign import amplitudes, tone_bundle
from tests.test_runtimes import windows

MODULES = {
    "ort-webgpu": ("onnxruntime_ep_webgpu", "WebGpuExecutionProvider"),
    "ort-rtx": ("onnxruntime_ep_nv_tensorrt_rtx", "NvTensorRTRTXExecutionProvider"),
}
STRICT = "session.disable_cpu_ep_fallback"


class OrtDouble(ModuleType):
    """ONNX Runtime as far as it is used: devices are what a test says, and sessions compute on the CPU.

    takes: the provider that a session really has. fails: what opening raises.
    """

    def __init__(self) -> None:
        super().__init__("onnxruntime")
        self.real = require("onnxruntime")
        self.__version__, self.OrtHardwareDeviceType = self.real.__version__, self.real.OrtHardwareDeviceType
        self.registered: list[str] = []
        self.devices: list[Any] = []
        self.opened: list[Any] = []
        self.batches: list[int] = []
        self.takes = ""
        self.fails: dict[str, str] = {}
        self.SessionOptions, self.InferenceSession = _Options, lambda *given, **_: _Session(self, *given)

    def set_default_logger_severity(self, level: int) -> None: ...

    def register_execution_provider_library(self, name: str, library: str) -> None:
        if library in self.fails:
            raise RuntimeError(self.fails[library])
        assert name not in self.registered, "ONNX Runtime registers a library once"
        self.registered.append(name)

    def get_ep_devices(self) -> list[Any]:
        return self.devices

    def offer(self, kind: str, provider: str) -> None:
        """List a device."""
        hardware = SimpleNamespace(type=getattr(self.OrtHardwareDeviceType, kind), vendor_id=0x1002, device_id=0x744C)
        self.devices.append(SimpleNamespace(ep_name=provider, device=hardware))


class _Options:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.devices: list[Any] = []
        self.settings: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value

    def add_provider_for_devices(self, devices: list[Any], settings: dict[str, str]) -> None:
        self.devices, self.settings = devices, settings


class _Session:
    def __init__(self, double: OrtDouble, given: bytes | str, options: _Options) -> None:
        double.opened.append(options)
        if reason := double.fails.get(options.entries.get(STRICT, "0")):
            raise RuntimeError(reason)
        self._double, self._provider = double, double.takes or options.devices[0].ep_name
        self._real = double.real.InferenceSession(given, providers=["CPUExecutionProvider"])
        self.get_inputs, self.get_outputs = self._real.get_inputs, self._real.get_outputs

    def get_providers(self) -> list[str]:
        return [self._provider, "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        node = SimpleNamespace(name="frontend/Pad", op_type="Pad")
        return [SimpleNamespace(ep_name="CPUExecutionProvider", get_nodes=lambda: [node] * 5)]

    def run(self, wanted: Any, given: dict[str, Any]) -> Any:
        self._double.batches.append(len(next(iter(given.values()))))
        return self._real.run(wanted, given)


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    return tone_bundle(tmp_path / "tones")


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OrtDouble:
    """ONNX Runtime and both packages, in this process alone."""
    double = OrtDouble()
    for module, _ in MODULES.values():
        (tmp_path / "packages" / module).mkdir(parents=True)
        code = f"import os\nos.environ['LD_LIBRARY_PATH'] = 'changed'\ndef get_library_path(): return '{module}.so'\n"
        (tmp_path / "packages" / module / "__init__.py").write_text(code)
        monkeypatch.setitem(sys.modules, module, ModuleType(module))  # so that it is as before afterwards
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    importlib.invalidate_caches()
    monkeypatch.setitem(sys.modules, "onnxruntime", double)
    monkeypatch.setattr(ort_plugin, "_registered", set())
    monkeypatch.setattr(apart, "enabled", False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in (ort_plugin.SOFTWARE, "VK_LOADER_DRIVERS_DISABLE", "LD_LIBRARY_PATH", "NVIDIA_TF32_OVERRIDE"):
        monkeypatch.setenv(variable, "")  # so that it is put back
        monkeypatch.delenv(variable)
    return double


@pytest.fixture(params=MODULES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_all_of_the_graph_runs_on_the_device(double: OrtDouble, name: str, tones: Bundle) -> None:
    """Asked for by its name, TensorRT-RTX runs on the CPU; so the device is given, and the CPU is forbidden."""
    double.offer("CPU", "CPUExecutionProvider")
    double.offer("GPU", MODULES[name][1])
    runtime = open_runtime(tones, name)
    assert [options.devices for options in double.opened] == [double.devices[1:]]
    assert all(options.entries[STRICT] == "1" for options in double.opened)
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    assert "LD_LIBRARY_PATH" not in os.environ, "programs that are started from here would get other libraries"
    assert runtime.provider.startswith(MODULES[name][1])
    assert runtime.provider.endswith(" on the GPU 0x1002:0x744c")
    assert "GPU" in probe(name)
    assert len(double.registered) == 1
    warmed = set(double.batches)
    batch = windows(11)
    for count in (1, 2, 3, 5, 11):
        np.testing.assert_allclose(runtime.infer(batch[:count]), amplitudes(batch[:count]), rtol=0, atol=1e-5)
    assert set(double.batches) == warmed == {1, 2, 4}, "a size that is new to the GPU is slow while a bird sings"
    runtime.close()
    with pytest.raises(RuntimeUnavailableError, match="closed"):
        runtime.infer(batch)


def test_a_session_that_took_the_cpu_is_refused(double: OrtDouble, name: str, tones: Bundle) -> None:
    double.offer("GPU", MODULES[name][1])
    double.takes = "CPUExecutionProvider"
    with pytest.raises(RuntimeUnavailableError, match=rf"^{name}: ONNX Runtime took \['CPUExecutionProvider'"):
        open_runtime(tones, name)


def test_nodes_that_would_be_left_to_the_cpu_are_named(double: OrtDouble, name: str, tones: Bundle) -> None:
    double.offer("GPU", MODULES[name][1])
    double.fails["1"] = "nodes are assigned to the CPU, but fallback to CPU EP has been explicitly disabled by the user"
    with pytest.raises(RuntimeUnavailableError) as refused:
        open_runtime(tones, name)
    nodes = "frontend/Pad (Pad), frontend/Pad (Pad), frontend/Pad (Pad) and 2 more"
    assert str(refused.value) == f"{name}: {MODULES[name][1]} does not take all of the graph: {nodes}"


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_webgpu_says_why_it_runs_no_other_precision(
    double: OrtDouble, tones: Bundle, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(Bundle, "model", lambda *_: Path("x.onnx"))
    with pytest.raises(RuntimeUnavailableError, match=rf"^ort-webgpu: no {precision}: .*; take --precision fp32$"):
        open_runtime(tones, "ort-webgpu", RuntimeOptions(precision))
    assert not double.opened


def test_software_runs_only_where_it_was_asked_for(
    double: OrtDouble, tones: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A GPU's runtime that computes on the CPU would be a hundred times slower than the CPU's own, without a word."""
    double.offer("CPU", MODULES["ort-webgpu"][1])
    with pytest.raises(RuntimeUnavailableError, match=rf"^ort-webgpu: no GPU in .*{ort_plugin.SOFTWARE}=1"):
        open_runtime(tones, "ort-webgpu")
    monkeypatch.setenv(ort_plugin.SOFTWARE, "1")
    assert open_runtime(tones, "ort-webgpu").provider.endswith(" in software on the CPU")
    assert any("computes on the CPU" in message for message in caplog.messages)
    assert "VK_LOADER_DRIVERS_DISABLE" not in os.environ
    assert set(double.batches) == {1}
    double.offer("GPU", MODULES["ort-webgpu"][1])
    assert open_runtime(tones, "ort-webgpu").provider.endswith(" on the GPU 0x1002:0x744c")


def test_a_software_driver_does_not_stand_in_for_a_gpu(
    double: OrtDouble, tones: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel knows a GPU, its Vulkan driver is not installed, and Mesa's llvmpipe is: it would be taken."""
    monkeypatch.setenv("VK_LOADER_DRIVERS_DISABLE", "*intel*")
    double.offer("GPU", MODULES["ort-webgpu"][1])
    for _ in range(2):
        open_runtime(tones, "ort-webgpu")
    disabled = os.environ["VK_LOADER_DRIVERS_DISABLE"].split(",")
    assert disabled == ["*intel*", "*lvp*", "*lavapipe*", "*swiftshader*"]


@pytest.mark.parametrize(
    ("name", "raised", "told"),
    [
        (
            "ort-webgpu",
            "long: Failed to get a WebGPU adapter: no",
            "no Vulkan driver that it can use: install libvulkan1",
        ),
        ("ort-rtx", "something else\nat line 3", "something else"),
    ],
)
def test_what_keeps_a_device_from_running_is_one_line(
    double: OrtDouble, tones: Bundle, name: str, raised: str, told: str
) -> None:
    double.offer("GPU", MODULES[name][1])
    double.fails["1"] = raised
    with pytest.raises(RuntimeUnavailableError, match=rf"^{name}: {told}[^\n]*$"):
        open_runtime(tones, name)


def test_without_a_driver_rtx_says_so(double: OrtDouble) -> None:
    double.fails["onnxruntime_ep_nv_tensorrt_rtx.so"] = (
        "Failed to load library x.so with error: libcuda.so.1: cannot open shared object file: No such file"
    )
    with pytest.raises(RuntimeUnavailableError, match=r"^ort-rtx: .*libcuda\.so\.1 is missing: install the NVIDIA dri"):
        probe("ort-rtx")


def test_without_a_gpu_rtx_says_which_it_takes(double: OrtDouble) -> None:
    """It lists no device then, and would run on the CPU."""
    with pytest.raises(RuntimeUnavailableError, match=r"^ort-rtx: no GPU that TensorRT-RTX takes"):
        probe("ort-rtx")


def test_rtx_finds_the_cuda_that_is_in_its_package(
    double: OrtDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without CUDA's toolkit its library does not load, unless its own libcudart is there before, for all to see."""
    loaded: list[tuple[str, int]] = []
    load: Callable[..., Any] = lambda path, mode=0: loaded.append((Path(path).name, mode))  # noqa: E731
    monkeypatch.setattr(ctypes, "CDLL", load)
    (tmp_path / "packages" / MODULES["ort-rtx"][0] / "libcudart.so.13.4.36").touch()
    double.offer("GPU", MODULES["ort-rtx"][1])
    probe("ort-rtx")
    assert loaded == [("libcudart.so.13.4.36", ctypes.RTLD_GLOBAL)]


def test_rtx_compiles_for_the_batches_that_are_run_and_keeps_the_kernels(
    double: OrtDouble, tones: Bundle, tmp_path: Path
) -> None:
    double.offer("GPU", MODULES["ort-rtx"][1])
    open_runtime(tones, "ort-rtx")
    settings = double.opened[-1].settings
    size, audio = tones.card.window_samples, tones.card.input.name
    assert settings["nv_profile_min_shapes"] == settings["nv_profile_opt_shapes"] == f"{audio}:1x{size}"
    assert settings["nv_profile_max_shapes"] == f"{audio}:4x{size}"
    cache = Path(settings["nv_runtime_cache_path"])
    assert cache.is_dir()
    assert (tmp_path / "cache") in cache.parents


def test_an_old_onnx_runtime_is_told(double: OrtDouble, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(OrtDouble, "register_execution_provider_library")
    with pytest.raises(RuntimeUnavailableError, match=rf"^{name} needs ONNX Runtime 1\.24\.4 or newer, here is"):
        probe(name)


def test_without_its_package_the_error_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    extra = {"ort-webgpu": "webgpu", "ort-rtx": "rtx"}[name]
    with pytest.raises(NotInstalledError, match=rf"^{name} needs onnxruntime-ep-.*: pip install 'edgebird\[{extra}\]'"):
        probe(name)


def test_doctor_lists_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgebird.doctor.probe_apart", lambda names: [(name, "yes") for name in names])
    told = "\n".join(examine())
    for words in ("onnxruntime-ep-webgpu ", "onnxruntime-ep-nv-tensorrt-rtx ", "ort-webgpu ", "ort-rtx "):
        assert f"\n{words}" in told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ort-webgpu", r"no GPU in /sys/class/drm|no Vulkan driver that it can use"),
        ("ort-rtx", r"lib(cuda|nvidia-ml)\.so\.1 is missing: install the NVIDIA driver|no GPU that TensorRT-RTX takes"),
    ],
)
def test_the_real_package_runs_or_says_why_not(name: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, as `doctor` asks it."""
    require(MODULES[name][0])
    monkeypatch.delenv(ort_plugin.SOFTWARE, raising=False)
    ((_, answer),) = probe_apart([name])
    if isinstance(answer, str):
        assert f"{MODULES[name][1]} " in answer
        assert " on the GPU " in answer
    else:
        assert re.match(rf"^{name}: [^\n]*({told})", str(answer))
