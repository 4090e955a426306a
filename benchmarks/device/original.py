"""The original's TorchScript on the GPU, in a process of its own: edgebird's forbids TF32 to every library in it.

    python -m edgebird.benchmarks.device.original FILE BUNDLE DEVICE TF32 SEARCH

Reads `BATCH RUNS` a line, answers a line of JSON: milliseconds of the clock and of the GPU of each run. DEVICE: cuda,
or cpu to try this out. TF32, SEARCH: 0 or 1, whether convolutions may be in TF32, whether cuDNN measures algorithms.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from edgebird.benchmarks.baseline import load, prepared_gpu, unread
from edgebird.bundle import open_bundle
from edgebird.card import Card
from edgebird.errors import EdgebirdError, NotInstalledError, RuntimeUnavailableError

_OVERRIDE = "NVIDIA_TF32_OVERRIDE"
_MOST = 64  # windows at once


class Original:
    """The process. device, tf32, search: as in the module. facts: what it says of PyTorch and the GPU."""

    def __init__(self, file: Path, bundle: Path, device: str, tf32: bool, search: bool) -> None:
        command = [sys.executable, "-m", __name__, str(file), str(bundle), device, str(int(tf32)), str(int(search))]
        environment = {name: value for name, value in os.environ.items() if name != _OVERRIDE}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)
        self.facts = self._answer()

    def run(self, batch: int, runs: int) -> dict[str, list[float]]:
        """`wall_ms` and `gpu_ms` of so many runs of a batch."""
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{batch} {runs}\n")
            self._process.stdin.flush()
        except OSError as error:
            raise RuntimeUnavailableError(f"the original's process is gone: {error.strerror}") from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process ended"}
        if "error" in answer:
            raise RuntimeUnavailableError(f"the original in PyTorch: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@contextmanager
def original(file: Path, bundle: Path, device: str, tf32: bool, search: bool) -> Iterator[Original]:
    """The process, ended at the end."""
    process = Original(file, bundle, device, tf32, search)
    try:
        yield process
    finally:
        process.close()


def _serve(file: Path, card: Card, device: str, tf32: bool, search: bool) -> Iterator[dict[str, Any]]:
    """Answers, the first of them facts."""
    try:
        import torch
    except ImportError as error:
        raise NotInstalledError("it needs a torch for CUDA") from error
    where = prepared_gpu(tf32) if device == "cuda" else "CPU"
    torch.backends.cudnn.benchmark = search
    model = load(file, device)
    yield {"torch": torch.__version__, "device": where, "tf32": tf32, "search": search}
    wave = 0.1 * torch.randn(_MOST, card.window_samples, generator=torch.Generator().manual_seed(0))
    for line in sys.stdin:
        batch, runs = map(int, line.split())
        inputs, windows = unread(len(card.labels), device, batch), wave[:batch]
        timed = _on_gpu if device == "cuda" else _on_cpu
        with torch.inference_mode():
            times = [timed(partial(_score, model, inputs, windows, device)) for _ in range(runs)]
        yield {"wall_ms": [wall for wall, _ in times], "gpu_ms": [gpu for _, gpu in times if gpu is not None]}


def _score(model: Any, inputs: Mapping[str, Any], windows: Any, device: str) -> Any:
    import torch

    return torch.sigmoid(model({**inputs, "wave": windows.to(device)})).cpu()


def _on_cpu(score: Callable[[], object]) -> tuple[float, float | None]:
    begun = time.perf_counter()
    score()
    return (time.perf_counter() - begun) * 1e3, None


def _on_gpu(score: Callable[[], object]) -> tuple[float, float | None]:
    """Milliseconds of the clock, and of the GPU from the first copy to the last."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begun = time.perf_counter()
    start.record()
    score()  # waits for the last copy
    wall = (time.perf_counter() - begun) * 1e3
    end.record()
    end.synchronize()
    return wall, start.elapsed_time(end)


def main(arguments: list[str]) -> int:
    """Serve until the input ends."""
    file, bundle, device, tf32, search = arguments
    try:
        for answer in _serve(Path(file), open_bundle(bundle).card, device, tf32 == "1", search == "1"):
            print(json.dumps(answer), flush=True)
    except (EdgebirdError, RuntimeError) as error:
        print(json.dumps({"error": " ".join(str(error).split())[-300:]}), flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
