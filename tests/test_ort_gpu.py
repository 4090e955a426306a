"""ONNX Runtime's GPU providers. The GPU wheel excludes the CPU wheel, so it has a Python of its own, which
EDGEBIRD_ORT_GPU_PYTHON names (`python -m venv X && X/bin/pip install onnxruntime-gpu soundfile soxr typer`); without a
GPU it shows that nothing falls back to the CPU in silence.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgebird.bundle import Bundle
from edgebird.runtimes import RuntimeOptions, ort
from tests.foreign import amplitudes, tone_bundle
from tests.test_runtimes import windows

ROOT = Path(__file__).parents[1]
PYTHON = "EDGEBIRD_ORT_GPU_PYTHON"
OPEN = """
import json, os, sys
from edgebird import open_bundle, open_runtime
from edgebird.errors import RuntimeUnavailableError
from edgebird.runtimes import probe
bundle = open_bundle(sys.argv[1])
told = {}
for name in ("ort-cuda", "ort-tensorrt"):
    for what, attempt in (("open", lambda: open_runtime(bundle, name).name), ("probe", lambda: probe(name))):
        try:
            told[f"{name} {what}"] = ["runs", attempt()]
        except RuntimeUnavailableError as error:
            told[f"{name} {what}"] = ["refused", str(error)]
told["cpu"] = open_runtime(bundle, "ort-cpu").name
told["tf32"] = os.environ["NVIDIA_TF32_OVERRIDE"]
print(json.dumps(told))
"""


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    return tone_bundle(tmp_path / "tones")


def test_the_gpu_wheel_never_falls_back_to_the_cpu_in_silence(tones: Bundle) -> None:
    """It lists CUDA and TensorRT as available where neither can be loaded, and would run on the CPU."""
    python = os.environ.get(PYTHON)
    if not python:
        if "ort-gpu" in os.environ.get("EDGEBIRD_REQUIRE", "").split(","):
            pytest.fail(f"ort-gpu was promised by EDGEBIRD_REQUIRE, and {PYTHON} is not set")
        pytest.skip(f"{PYTHON} names no Python with onnxruntime-gpu")
    done = subprocess.run(
        [python, "-c", OPEN, str(tones.path)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)  # and nothing else on stdout: ONNX Runtime would print its banner there
    assert (told.pop("cpu"), told.pop("tf32")) == ("ort-cpu", "0")
    for attempt, (outcome, text) in told.items():
        name = attempt.split()[0]
        if outcome == "runs":
            assert name in text or "ONNX Runtime" in text
        else:
            assert text.startswith(f"{name}: lib")
            assert "is missing: ONNX Runtime" in text
            assert "on the library path (docs/gpu.md)" in text


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_tensorrt_provider_is_configured(tones: Bundle, precision: str) -> None:
    """Unconfigured it builds an engine at every start, and one for each batch size; FP16 flags would be applied to the
    frontend too.
    """
    precisions = {precision: tones.card.precisions["fp32"]}
    given = ort._provider_options(
        Bundle(tones.path, replace(tones.card, precisions=precisions)), "ort-tensorrt", precision
    )
    assert {key: given[key] for key in given if "shapes" in key} == {
        "trt_profile_min_shapes": "sound:1x40000",
        "trt_profile_opt_shapes": "sound:1x40000",
        "trt_profile_max_shapes": "sound:4x40000",
    }
    assert (given["trt_engine_cache_enable"], given["trt_timing_cache_enable"]) == ("1", "1")
    assert Path(given["trt_engine_cache_path"]).is_dir()
    assert given["trt_engine_cache_prefix"].startswith(precision)
    assert not [key for key in given if "fp16" in key or "int8" in key]


def test_cuda_runs_without_tf32(tones: Bundle) -> None:
    """10 bits of mantissa ruin the FP32 frontend."""
    assert ort._provider_options(tones, "ort-cuda", "fp32") == {"device_id": "0", "use_tf32": "0"}


def test_memory_that_stays_on_the_device_gives_the_same_scores(tones: Bundle) -> None:
    """Here the device is the CPU: the binding is the same."""
    runtime = ort.open_runtime(tones, "ort-cpu", RuntimeOptions(threads=1))
    assert isinstance(runtime, ort.OrtRuntime)
    for count in (1, 3, 1):
        batch = windows(count)
        scores = runtime._run_bound(batch, "cpu")
        np.testing.assert_allclose(scores, amplitudes(batch), rtol=0, atol=1e-5)
        kept = scores.copy()
        runtime._run_bound(batch[::-1].copy(), "cpu")
        np.testing.assert_array_equal(scores, kept)
