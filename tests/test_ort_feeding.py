"""How `ort-cuda` feeds a GPU: pinned memory, a CUDA graph of each batch size, and two batches in flight.

On a double of CUDA on which nothing happens before somebody waits for it, with ONNX Runtime's scores; the graphs are
captured by the real provider in tests/test_ort_gpu.py.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird.bundle import Bundle
from edgebird.errors import RuntimeUnavailableError
from edgebird.runtimes import RuntimeOptions, cudart, group, ort, ort_gpu, ort_session
from edgebird.runtimes.flight import SLOTS
from edgebird.runtimes.trt import gpu
from tests.cudart_double import CudartDouble
from tests.foreign import amplitudes, tone_bundle
from tests.test_runtimes import windows
from tests.test_trt_runtime import ORIN, RTX4090

SIZES = (1, 2, 4, 8)


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    return tone_bundle(tmp_path / "tones")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> CudartDouble:
    double = CudartDouble(RTX4090)
    double.install_for_ort(monkeypatch)
    return double


def opened(bundle: Bundle) -> ort.OrtRuntime:
    runtime = ort.open_runtime(bundle, "ort-cuda", RuntimeOptions(throughput=True))
    assert isinstance(runtime, ort.OrtRuntime)
    return runtime


def assert_scores(runtime: ort.OrtRuntime, count: int) -> None:
    given = windows(count)
    np.testing.assert_allclose(runtime.infer(given), amplitudes(given), rtol=0, atol=1e-5)


def test_every_number_of_windows_has_its_scores_in_order(cuda: CudartDouble, tones: Bundle) -> None:
    """Batches overlap: what one slot scores must not come out of the other."""
    runtime = opened(tones)
    for count in (1, 3, 8, 9, 33, 2, 1):
        assert_scores(runtime, count)
    kept = runtime.infer(windows(4))
    again = kept.copy()
    runtime.infer(windows(12)[8:])
    np.testing.assert_array_equal(kept, again)
    runtime.close()
    runtime.close()
    assert cuda.left() == {}


def test_memory_that_gpu_and_cpu_share_is_not_copied(monkeypatch: pytest.MonkeyPatch, tones: Bundle) -> None:
    cuda = CudartDouble(ORIN)
    cuda.install_for_ort(monkeypatch)
    monkeypatch.setattr(cuda, "_cudaMemcpyAsync", None)
    runtime = opened(tones)
    assert_scores(runtime, 11)
    assert set(runtime.split(windows(1))) == {"compute", "overhead"}
    runtime.close()
    assert cuda.left() == {}


def test_all_graphs_are_captured_at_the_opening(cuda: CudartDouble, tones: Bundle) -> None:
    """To capture one takes as long as dozens of inferences, while sound is lost."""
    runtime = opened(tones)
    graphs = len(cuda.graphs)
    assert graphs == SLOTS * len(SIZES)
    session: Any = runtime._session
    runs, launches = session.runs, cuda.launches
    for count in (*range(1, 10), 33):
        runtime.infer(windows(count))
    assert (len(cuda.graphs), session.runs) == (graphs, runs)
    assert cuda.launches == launches + 8 + 2 + 5
    assert runtime.includes(1) == "copies to and from the GPU; a CUDA graph"


@pytest.mark.parametrize("many", [1 << 20, 1000])
def test_windows_reach_the_gpu_whole_in_pieces_and_by_several_threads(
    many: int, cuda: CudartDouble, tones: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One core fills memory more slowly than the GPU copies it: a large group would wait a quarter of its time."""
    monkeypatch.setattr(gpu, "_MANY", many)
    monkeypatch.setattr(gpu, "_PIECE", 700)
    runtime = opened(tones)
    for count in (8, 5, 1, 8):
        assert_scores(runtime, count)
    runtime.close()
    assert cuda.left() == {}


def test_two_callers_at_the_same_time_have_their_own_scores(cuda: CudartDouble, tones: Bundle) -> None:
    """`detect` gives the next batch while it uses the scores of one."""
    runtime = opened(tones)
    assert runtime.concurrency == 2
    batches = [windows(9)[start:] for start in (0, 3, 1, 6, 2, 8) * 4]
    with ThreadPoolExecutor(runtime.concurrency) as callers:
        for batch, scores in zip(batches, callers.map(runtime.infer, batches), strict=True):
            np.testing.assert_allclose(scores, amplitudes(batch), rtol=0, atol=1e-5)
    runtime.close()
    assert cuda.left() == {}


def test_the_next_batch_is_copied_while_one_computes(cuda: CudartDouble, tones: Bundle) -> None:
    """On one stream, or from memory that is not pinned, the GPU would stand still while it is fed."""
    runs = opened(tones)._gpu
    assert runs is not None
    first, second = runs._slots
    given = windows(16)
    runs._start(first, given[:8])
    runs._start(second, given[8:])
    copies = [step for step in second.stream.work if "_cudaMemcpyAsync" in step.__qualname__]
    before_waiting = second.stream.work[: len(copies) - 1]  # the last copies the scores
    assert before_waiting == copies[:-1]
    for copy in before_waiting:
        copy()
    assert bytes(cuda.bytes_at(second.input.device, given[8:].nbytes)) == given[8:].tobytes()
    assert first.stream.work  # it has not computed yet


@pytest.mark.parametrize("call", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_a_graph_that_cannot_be_captured_costs_speed_and_not_the_gpu(
    call: str, cuda: CudartDouble, tones: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """A driver or another program on the GPU may forbid it."""
    cuda.fail[call] = "cudaErrorStreamCaptureUnsupported"
    runtime = opened(tones)
    told = "ort-cuda runs 1 windows without a CUDA graph, which cannot be captured: ort-cuda: "
    assert [text.startswith(told) for text in caplog.messages] == [True]
    assert runtime.includes(4) == "copies to and from the GPU; no CUDA graph"
    for count in (1, 3, 20):
        assert_scores(runtime, count)
    runtime.close()
    assert cuda.left() == {}
    with pytest.raises(RuntimeUnavailableError, match="the runtime is closed"):
        runtime.infer(windows(1))


def test_a_graph_in_which_the_cpu_frees_memory_is_not_replayed(
    cuda: CudartDouble, tones: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """ONNX Runtime before it knew of captures: memory would be freed at each replay, and the process crash."""
    cuda.node_kinds = [0, 1, cudart.Cudart.cudaGraphNodeType.cudaGraphNodeTypeHost]
    runtime = opened(tones)
    assert cuda.launches == 0
    assert "this ONNX Runtime frees memory that a graph needs, a newer one does not" in caplog.text
    assert_scores(runtime, 5)


@pytest.mark.parametrize("call", ["cudaGraphLaunch", "cudaMemcpyAsync", "cudaStreamSynchronize"])
def test_a_gpu_that_failed_once_goes_on(call: str, cuda: CudartDouble, tones: Bundle) -> None:
    """A slot that is lost would let all callers wait for ever."""
    runtime = opened(tones)
    for _ in range(3):
        cuda.fail[call] = "cudaErrorLaunchFailure"
        with pytest.raises(RuntimeUnavailableError, match=f"ort-cuda: {call} failed"):
            runtime.infer(windows(20))
        cuda.fail.clear()
        assert_scores(runtime, 20)
    runtime.close()
    assert cuda.left() == {}


def test_the_parts_of_an_inference_are_told(cuda: CudartDouble, tones: Bundle) -> None:
    runtime = opened(tones)
    parts = runtime.split(windows(3))
    assert set(parts) == {"h2d", "compute", "d2h", "overhead"}
    assert (parts["compute"] > 0, parts["d2h"] > 0) == (True, True)
    assert_scores(runtime, 3)
    runtime.close()
    assert cuda.left() == {}


def test_a_runtime_that_does_not_open_frees_the_gpu(
    cuda: CudartDouble, tones: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` goes on to the next, which needs the memory."""
    cuda.fail["cudaHostAlloc"] = "cudaErrorMemoryAllocation"
    with pytest.raises(RuntimeUnavailableError, match="ort-cuda: cudaHostAlloc failed: "):
        opened(tones)
    assert cuda.left() == {}


def test_without_cudas_library_it_says_that_it_is_slow(
    tones: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """ONNX Runtime may find what `ctypes` does not."""
    real = ort_session.session_of(tones.model(), "ort-cpu")
    monkeypatch.setattr(ort, "session_of", lambda *_, **__: real)
    monkeypatch.setattr(ort_gpu, "_MAJORS", ("0",))
    monkeypatch.setattr(ort, "warm_up", lambda *_: None)
    assert ort.open_runtime(tones, "ort-cuda", RuntimeOptions()).concurrency == 1
    assert "ort-cuda copies slowly and without CUDA graphs here" in caplog.text


# ------------------------------------------------------------------------------------------------------------ the group
def test_the_group_is_found_where_recordings_are_scored(
    cuda: CudartDouble, tones: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight windows leave a large GPU waiting; a station starts without the search."""
    asked: list[int] = []

    def found(_name: str, usual: int, score: Any, free: Any) -> int:
        assert (usual, free()) == (8, 8 << 30)
        for size in (8, 16):
            score(size, 2)
            asked.append(size)
        return 16

    monkeypatch.setattr(ort, "fastest_group", found)
    runtime = ort.open_runtime(tones, "ort-cuda", RuntimeOptions(throughput=True, measure=True))
    assert isinstance(runtime, ort.OrtRuntime)
    assert (asked, runtime.batch_size, runtime.sizes) == ([8, 16], 16, (1, 2, 4, 8, 16))
    graphs = len(cuda.graphs)
    for count in (3, 16, 37):
        assert_scores(runtime, count)
    assert graphs == len(cuda.graphs) == SLOTS * 5
    assert opened(tones).batch_size == 8
    runtime.close()


def test_windows_that_share_a_floor_stay_in_their_groups(cuda: CudartDouble, tmp_path: Path) -> None:
    bundle = tone_bundle(tmp_path / "floor", db_floor="batch")
    runtime = ort.open_runtime(bundle, "ort-cuda", RuntimeOptions(throughput=True, measure=True))
    assert runtime.batch_size == 4


class Device:
    """milliseconds: of a group, by its size. taken: bytes a window."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, milliseconds: dict[int, float], taken: int = 0) -> None:
        self.now, self.free, self.tried = 0.0, 1000, list[int]()
        self._milliseconds, self._taken = milliseconds, taken
        monkeypatch.setattr(group.time, "perf_counter", lambda: self.now)

    def score(self, size: int, times: int) -> None:
        if size not in self.tried:
            self.tried.append(size)
            self.free = 1000 - self._taken * size
        if size not in self._milliseconds:
            raise RuntimeUnavailableError("no memory left")
        self.now += times * self._milliseconds[size]

    def found(self) -> int:
        return group.fastest_group("ort-cuda", 8, self.score, lambda: self.free)


@pytest.mark.parametrize(
    ("milliseconds", "tried", "best"),
    [
        ({1: 1, 2: 1, 4: 1, 8: 1, 16: 1, 32: 1, 64: 1}, 64, 64),  # a GPU that is idle up to 64
        ({1: 1, 2: 2, 4: 4, 8: 8, 16: 16}, 16, 1),  # one that is busy with one: nothing is gained beyond
        ({1: 1, 2: 1.2, 4: 2, 8: 4, 16: 8}, 16, 4),
        ({1: 3, 2: 2, 4: 8, 8: 4, 16: 7, 32: 14}, 32, 16),  # what is run anyway is tried in any case
        ({1: 1, 2: 1, 4: 1, 8: 1, 16: 1}, 32, 16),  # no memory for 32
    ],
)
def test_the_smallest_group_that_is_as_fast_as_any(
    milliseconds: dict[int, float], tried: int, best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(monkeypatch, milliseconds)
    assert device.found() == best
    assert max(device.tried) == tried


def test_a_group_for_which_memory_may_not_suffice_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a board of 8 GB that the system shares the kernel would end the process."""
    device = Device(monkeypatch, {1: 1, 2: 1, 4: 1, 8: 1, 16: 1}, taken=45)
    assert device.found() == 8  # 360 bytes taken, 640 free
    with pytest.raises(RuntimeUnavailableError, match="no memory left"):
        Device(monkeypatch, {1: 1, 2: 1}).found()
