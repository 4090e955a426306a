"""The original's way of running, as a runtime: its TorchScript files, batches of four, PyTorch on the CPU or a GPU.

A checkpoint is data, but a TorchScript file is a program: loading one runs what is in it. So these files are loaded
only when a user names them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgebird.card import SCORES, Card
from edgebird.errors import CheckpointError, RuntimeUnavailableError, UsageError
from edgebird.machine import usable_cores
from edgebird.runtimes.contract import check_open, check_windows, run_in_batches
from edgebird.types import FloatArray

NAMES = {"cpu": "torchscript", "cuda": "torchscript-cuda"}  # device of PyTorch -> runtime
BATCH = 4


def name_of(device: str) -> str:
    """What the baseline on a device is called. Raises UsageError for a device that is not one of `NAMES`."""
    if device not in NAMES:
        raise UsageError(f"--baseline-device {device}: wanted {' or '.join(NAMES)}")
    return NAMES[device]


class TorchScriptRuntime:
    """See `Runtime`: the mean of the files' sigmoids, as the original has it. device: of PyTorch, where models are."""

    concurrency = 1

    def __init__(self, models: Sequence[Any], card: Card, provider: str, device: str = "cpu") -> None:
        self.name, self.card, self.provider = NAMES[device], card, provider
        self.batch_size = BATCH
        self._models, self._device = list(models), device
        self._unread = unread(len(card.labels), device)

    def includes(self, _batch: int) -> str:
        """What a time of `infer` has in it, for the bench."""
        copies = "all in the CPU's memory, no copies to a device" if self._device == "cpu" else None
        return copies or "copies to and from the GPU; no CUDA graph"

    def infer(self, windows: FloatArray) -> FloatArray:
        """[batch, window_samples] -> [batch, classes], four at a time, the last filled with zeros; see `Runtime`."""
        check_open(self.name, bool(self._models))
        check_windows(windows, self.card)
        return run_in_batches(self._four, windows, self.card, fixed=BATCH)

    def infer_outputs(self, windows: FloatArray) -> dict[str, FloatArray]:
        """It has no output but the scores; see `Runtime`."""
        return {SCORES: self.infer(windows)}

    def _four(self, windows: FloatArray) -> FloatArray:
        import torch

        try:
            with torch.inference_mode():
                inputs = self._unread | {"wave": torch.from_numpy(windows).to(self._device)}
                scores = [torch.sigmoid(model(inputs)).cpu().numpy() for model in self._models]
        except RuntimeError as error:
            raise RuntimeUnavailableError(f"{self.name}: PyTorch failed: {_reason(error)}") from error
        mean: FloatArray = np.mean(scores, axis=0, dtype=np.float32)
        return mean

    def close(self) -> None:
        """Free the models."""
        self._models.clear()


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[-1][:300]


def unread(classes: int, device: str, batch: int = BATCH) -> dict[str, Any]:
    """What the original's networks take and do not read while they score."""
    import torch

    shapes = {"rating": (batch, 1), "loss_target": (batch, 1), "embedding": (batch, 1, classes)}
    return {name: torch.zeros(shape, device=device) for name, shape in shapes.items()}


def open_baseline(files: Sequence[Path], card: Card, threads: int | None, device: str = "cpu") -> TorchScriptRuntime:
    """Load TorchScript files, which may run any code. device: `cpu`, or `cuda` for the first GPU, FP32 without TF32.

    Raises CheckpointError, RuntimeUnavailableError without torch or the GPU.
    """
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: torch is there, but a library of it is not
        raise RuntimeUnavailableError(f"--baseline needs torch: pip install 'edgebird[export]' ({error})") from error
    torch.set_num_threads(threads or usable_cores())
    where = "CPU" if device == "cpu" else prepared_gpu()
    models = [load(file, device) for file in files]
    return TorchScriptRuntime(models, card, f"PyTorch {torch.__version__}, {where}", device)


def prepared_gpu(tf32: bool = False) -> str:
    """The name of the GPU, where algorithms are measured from then on, and FP32 is true unless `tf32`.

    PyTorch's own switches do not do: a traced file carries them as they were when it was traced, usually with TF32.
    """
    import torch

    if not torch.cuda.is_available():
        needs = f"PyTorch {torch.__version__} sees no NVIDIA GPU: it needs a build for CUDA, and the driver"
        raise RuntimeUnavailableError(f"--baseline-device cuda: {needs}")
    if not tf32:
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # read when CUDA's libraries are first used
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, tf32
    torch.backends.cudnn.benchmark = True
    return torch.cuda.get_device_name(0)


def load(file: Path, device: str) -> Any:
    """The network in a TorchScript file, which may run any code, on a device of PyTorch. Errors: `open_baseline`."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which is what the original has
        try:
            model = torch.jit.load(str(file), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            reason = "not a TorchScript file" if file.exists() else "no such file"
            raise CheckpointError(f"--baseline {file}: {reason}; wanted a *_jit_bs4.pt of the original") from error
    try:
        return model.to(device)
    except RuntimeError as error:  # no memory left, or a GPU that this PyTorch has no code for
        raise RuntimeUnavailableError(f"{NAMES[device]}: PyTorch failed: {_reason(error)}") from error
