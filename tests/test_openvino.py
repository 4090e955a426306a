"""OpenVINO: the precision that was asked for is the one that runs, bf16 touches the backbone alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird import demo
from edgebird.bundle import Bundle, open_bundle
from edgebird.errors import BundleError, RuntimeUnavailableError
from edgebird.parity import TOLERANCES, Tolerance, prove
from edgebird.runtimes import RuntimeOptions, open_runtime, probe
from edgebird.verification import verify
from tests.conftest import needs_bf16, require
from tests.foreign import tone_bundle

require("openvino")

from edgebird.runtimes import ov, ov_device  # noqa: E402


def test_openvinos_first_array_is_read_before_a_core_is_given() -> None:
    """It is prepared under a lock of its own, and two threads that began with it waited for each other for ever."""
    ov_device._first_array.cache_clear()
    ov_device.core_of("openvino")
    assert ov_device._first_array.cache_info().currsize == 1


def kinds(request: Any, layer: str) -> set[str]:
    """The precisions in which the layers of a kind are computed."""
    info = [node.get_rt_info() for node in request.get_compiled_model().get_runtime_model().get_ops()]
    return {str(i["runtimePrecision"].astype(str)) for i in info if i["layerType"].astype(str) == layer}


@pytest.fixture
def bf16(bundle: Bundle) -> Iterator[Any]:
    needs_bf16()
    runtime = open_runtime(bundle, "openvino", RuntimeOptions("bf16", threads=1))
    yield runtime
    runtime.close()


def test_fp32_is_fp32_though_openvino_alone_would_choose_otherwise(bundle: Bundle) -> None:
    """Left alone it takes bfloat16 where a CPU has it: scores 0.2 off, in silence."""
    runtime: Any = open_runtime(bundle, "openvino")
    ((request,),) = runtime._chains
    assert kinds(request, "Convolution") == {"f32"}
    assert kinds(request, "MatMul") | kinds(request, "FullyConnected") == {"f32"}


def test_the_trained_folds_agree_in_bf16() -> None:
    needs_bf16()
    (result,) = verify(open_bundle(demo.BUNDLE), "openvino", "bf16")
    assert result.passed
    assert result.parity.top1_agreement == 1


def test_bf16_is_the_backbones_alone(bf16: Any) -> None:
    """A frontend in bf16 gave scores that were 0.5 off."""
    ((frontend, backbone, tail),) = bf16._chains
    assert kinds(backbone, "Convolution") == {"bf16"}
    for part in (frontend, tail):
        assert kinds(part, "MatMul") | kinds(part, "FullyConnected") == {"f32"}


def test_auto_finds_the_engine_that_makes_bf16(bundle: Bundle) -> None:
    """bf16 is no graph of the bundle: whoever asks for it need not know which engine makes it."""
    needs_bf16()
    assert open_runtime(bundle, "auto", RuntimeOptions("bf16", threads=1)).name == "openvino"


def test_bf16_is_proven_by_verify(bundle: Bundle) -> None:
    needs_bf16()
    (result,) = verify(bundle, "openvino", "bf16")
    assert result.passed
    assert result.tolerance == TOLERANCES["bf16"]
    assert result.parity.max_abs > 1e-5, "this is FP32"


def test_in_bf16_too_a_batch_scores_as_its_windows(bf16: Any, bundle: Bundle) -> None:
    windows = bundle.golden().windows()[:3]
    together = bf16.infer(windows)
    for window, row in zip(windows, together, strict=True):
        np.testing.assert_allclose(bf16.infer(window[None])[0], row, rtol=0, atol=1e-3)


def test_the_parts_of_a_batch_are_told(bf16: Any, bundle: Bundle) -> None:
    """`bench` asks for any batch, whatever the compiled graph takes at once."""
    spent = bf16.split(bundle.golden().windows()[:3])
    assert list(spent) == ["frontend", "backbone", "head"]
    assert all(value > 0 for value in spent.values())


@pytest.mark.parametrize(
    ("machine", "needs"), [("x86_64", "AVX512-BF16 or AMX-BF16"), ("aarch64", "the BF16 of Armv8.6")]
)
def test_bf16_that_would_only_be_emulated_is_refused(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, machine: str, needs: str
) -> None:
    """It would be slower than FP32, and nobody would know why; what a CPU lacks is called as its maker calls it."""
    monkeypatch.setattr(ov_device, "_BF16_FLAGS", {"amx_bf16000"})
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(RuntimeUnavailableError, match=rf"this CPU has no bf16 of its own \(a CPU needs {needs}\)"):
        open_runtime(bundle, "openvino", RuntimeOptions("bf16"))


def test_bf16_of_a_model_with_unknown_parts_is_refused(tmp_path: Path) -> None:
    needs_bf16()
    with pytest.raises(BundleError, match="a card that names images and maps: export the bundle again"):
        open_runtime(tone_bundle(tmp_path / "tones"), "openvino", RuntimeOptions("bf16"))


def test_a_precision_that_was_not_asked_for_is_an_error() -> None:
    """Asked for f16, OpenVINO's CPU takes bf16 and says nothing."""
    needs_bf16()
    import openvino
    from openvino import opset13

    core, device = ov_device.core_of("openvino")
    if "FP16" in ov_device.abilities(core, device):
        pytest.skip("this CPU has f16 of its own")
    x = opset13.parameter([1], np.float32)
    model = openvino.Model([opset13.relu(x)], [x], "tiny")
    with pytest.raises(RuntimeUnavailableError, match="asked for f16 on CPU, OpenVINO took bf16 on CPU"):
        ov_device.compiled_for(core, model, "openvino", {"INFERENCE_PRECISION_HINT": "f16"})


@pytest.mark.parametrize(("name", "driver"), [("openvino-gpu", "intel-opencl-icd"), ("openvino-npu", "NPU driver")])
def test_a_device_that_is_not_here_is_told_with_what_would_help(
    name: str, driver: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its work is not given to the CPU."""
    import openvino

    monkeypatch.setattr(openvino.Core, "available_devices", ["CPU"])
    for use in (lambda: open_runtime(bundle, name), lambda: probe(name)):
        with pytest.raises(RuntimeUnavailableError, match=driver):
            use()


def test_without_openvino_the_error_says_what_to_install(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'edgebird\[openvino\]'"):
        open_runtime(bundle, "openvino")


def test_what_was_kept_compiled_is_used_again_unless_it_was_damaged(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO computes with a damaged file as if nothing were wrong. (GPUs and NPUs keep; here the CPU stands in.)"""
    monkeypatch.setattr(ov, "_SLOW_TO_COMPILE", ("CPU",))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    window = bundle.golden().windows()[:1]
    expected = open_runtime(bundle, "openvino").infer(window)
    (kept,) = tmp_path.rglob("*.blob")
    first = kept.stat().st_mtime_ns
    np.testing.assert_array_equal(open_runtime(bundle, "openvino").infer(window), expected)
    assert kept.stat().st_mtime_ns == first

    kept.chmod(0o600)
    data = bytearray(kept.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    kept.write_bytes(data)
    np.testing.assert_array_equal(open_runtime(bundle, "openvino").infer(window), expected)
    assert kept.read_bytes() != data


def test_a_cache_that_cannot_be_written_is_done_without(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ov, "_SLOW_TO_COMPILE", ("CPU",))
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert open_runtime(bundle, "openvino").infer(bundle.golden().windows()[:1]).shape == (1, 264)


def test_an_arm_cpu_computes_in_fp16_once_its_scores_are_proven_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO's own float16 was 0.03 off on such a CPU: nothing is scored in it before the golden windows were."""
    parts = {"images": ("projected",), "maps": ("power",)}
    card = replace(tone_bundle(tmp_path / "tones").card, **parts)
    card = replace(card, precisions={"fp16": card.precisions["fp32"]})
    bundle = Bundle(tmp_path / "tones", card)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("edgebird.runtimes.apart.enabled", True)
    monkeypatch.setattr("edgebird.runtimes.apart.to_be_asked", lambda _module: False)
    monkeypatch.setattr(ov, "abilities", lambda _core, _device: ["FP32", "FP16"])
    compiled, hints, proofs = ov.compiled_for, list[str](), list[float]()

    def as_float32(core: Any, model: Any, name: str, settings: dict[str, Any]) -> Any:
        hints.append(settings["INFERENCE_PRECISION_HINT"])
        return compiled(core, model, name, settings | {"INFERENCE_PRECISION_HINT": "f32"})

    def noted(*arguments: Any) -> Any:
        proofs.append((proof := prove(*arguments)).parity.max_abs)
        return proof

    monkeypatch.setattr(ov, "compiled_for", as_float32)
    monkeypatch.setattr("edgebird.runtimes.proven.prove", noted)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    open_runtime(bundle, "openvino", RuntimeOptions("fp16"))
    assert (hints, proofs) == (["f32"], []), "x86 computes an FP16 graph in float32"

    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    for _ in range(2):
        hints.clear()
        open_runtime(bundle, "openvino", RuntimeOptions("fp16"))
        assert (hints, len(proofs)) == (["f32", "f16", "f32"], 1), "proven once, and noted"

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "new"))
    monkeypatch.setitem(TOLERANCES, "fp16", Tolerance(0, 0))
    for _ in range(2):
        with pytest.raises(RuntimeUnavailableError, match="fp16 as this CPU computes it is refused: scores differ by"):
            open_runtime(bundle, "openvino", RuntimeOptions("fp16"))
        assert len(proofs) == 2, "refused once, and noted: a station that starts again is not kept for minutes"

    graph = replace(card.precisions["fp16"], kept={"power": "too large for FP16"})
    hints.clear()
    open_runtime(Bundle(bundle.path, replace(card, precisions={"fp16": graph})), "openvino", RuntimeOptions("fp16"))
    assert hints == ["f32"], "what must stay in float32 stays there"
