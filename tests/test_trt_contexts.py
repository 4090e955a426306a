"""What runs a batch size of an engine: its profile, the working memory that all share, kernels of TensorRT-RTX.

On doubles of every version of TensorRT; see test_trt_runtime.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from edgebird.bundle import Bundle
from edgebird.errors import ParityError, RuntimeUnavailableError
from edgebird.runtimes import open_runtime
from edgebird.runtimes.trt.runtime import TrtRuntime
from tests import test_trt_runtime
from tests.tensorrt_double import RTX, WORKING_MEMORY
from tests.test_trt_runtime import Device, assert_right, install, sidecar_of

device, orin, tones = test_trt_runtime.device, test_trt_runtime.orin, test_trt_runtime.tones  # fixtures


def test_one_window_and_many_have_kernels_of_their_own(device: Device, tones: Bundle) -> None:
    """TensorRT measures kernels at the best shape of a profile: with one for all, those for many are chosen by one.
    TensorRT-RTX makes kernels for each batch size by itself.
    """
    path = device.build(tones, max_batch=8)
    batches = [{name: shape[0] for name, shape in one.items()} for one in sidecar_of(path).profiles]
    whole = [{"min": 1, "opt": 1, "max": 8}]
    parts = [{"min": 1, "opt": 1, "max": 1}, {"min": 2, "opt": 8, "max": 8}]
    assert batches == (whole if device.trt.rtx else parts)
    runtime = open_runtime(tones, device.runtime)
    for count in (1, 2, 3, 8, 9, 1):
        assert_right(runtime, count)
    runtime.close()


def test_a_profile_that_cannot_be_selected_is_told(orin: Device, tones: Bundle) -> None:
    orin.build(tones)
    orin.trt.faults.select = True
    with pytest.raises(RuntimeUnavailableError, match="profile for 4 windows refused: no reason given"):
        orin.open(tones)
    assert orin.cuda.left() == {}


def test_all_batch_sizes_share_one_block_of_working_memory(device: Device, tones: Bundle) -> None:
    """Each context takes what the largest batch needs: on a board of 8 GB that is what the station lacks."""
    device.build(tones, max_batch=12)
    device.trt.own_memory = 0
    device.cuda.on_gpu.clear()
    runtime = open_runtime(tones, device.runtime)
    for count in (1, 2, 4, 8, 12):
        assert_right(runtime, count)
    assert device.trt.own_memory == 0
    assert device.cuda.on_gpu.count(WORKING_MEMORY) == 1
    runtime.close()
    assert device.cuda.left() == {}


# ------------------------------------------------------------------------------------------- what TensorRT-RTX compiles
@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Device:
    """With a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return install(RTX, monkeypatch)


def test_what_is_proven_is_what_runs_later(rtx: Device, tones: Bundle) -> None:
    """TensorRT-RTX makes kernels for a batch size when it meets one: first it computes with others, which pass."""
    rtx.trt.faults.final_off = 0.02
    with pytest.raises(ParityError, match="was deleted: the engine does not score as the original network did"):
        rtx.build(tones)


def test_its_graphs_are_captured_by_itself_once_the_kernels_are_final(rtx: Device, tones: Bundle) -> None:
    """A graph of ours, recorded after one inference, may hold kernels that were only meant for that one."""
    rtx.build(tones)
    assert "REQUIRE_USER_ALLOCATION" in rtx.trt.built["flags"]  # else it captures nothing
    rtx.cuda.fail["cudaStreamBeginCapture"] = "cudaErrorStreamCaptureUnsupported"
    runtime = rtx.open(tones)
    rtx.cuda.launches = 0
    for count in (1, 4, 3):
        assert_right(runtime, count)
    assert rtx.cuda.launches == 3
    assert isinstance(runtime, TrtRuntime)
    assert runtime.includes(4) == "copies to and from the GPU; a CUDA graph of TensorRT's own where it can be captured"


def test_what_it_compiled_is_there_at_the_next_opening(
    rtx: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It took its time at each start of a station, and again for another driver only."""
    rtx.build(tones)
    kernels = list((tmp_path / "cache" / "edgebird" / "tensorrt-rtx").glob("kernels.rtx-4090.sm89.16mp.1.7.1.116.*"))
    assert len(kernels) == 1
    for content, compiled in ((None, 0), (b"", 2), (b"another version\n[1]", 2), (None, 0)):
        if content is not None:
            kernels[0].write_bytes(content)
        rtx.trt.compiled = 0
        runtime = rtx.open(tones)
        assert_right(runtime, 4)
        runtime.close()
        assert rtx.trt.compiled == compiled
    told = tmp_path / "version"
    told.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Release")
    monkeypatch.setattr("edgebird.runtimes.trt.gpu._DRIVER_FILE", str(told))
    rtx.open(tones).close()
    assert rtx.trt.compiled > 0


@pytest.mark.parametrize("fault", ["refused", "no place"])
def test_where_kernels_cannot_be_kept_they_are_compiled_again(
    rtx: Device, tones: Bundle, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    rtx.trt.faults.runtime_cache = fault == "refused"
    if fault == "no place":
        monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    rtx.build(tones)
    rtx.trt.compiled = 0
    runtime = rtx.open(tones)
    assert_right(runtime, 4)
    assert rtx.trt.compiled > 0
