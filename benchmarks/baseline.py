"""The original's way of running, as a runtime: its TorchScript files, batches of four, PyTorch on the CPU.

A checkpoint is data, but a TorchScript file is a program: loading one runs what is in it. So these files are loaded
only when a user names them.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgebird.card import Card
from edgebird.errors import CheckpointError, RuntimeUnavailableError
from edgebird.machine import usable_cores
from edgebird.runtimes.contract import check_open, check_windows, run_in_batches
from edgebird.types import FloatArray

NAME = "torchscript"
BATCH = 4


class TorchScriptRuntime:
    """See `Runtime`: the mean of the files' sigmoids, as the original has it."""

    concurrency = 1

    def __init__(self, models: Sequence[Any], card: Card, provider: str) -> None:
        self.name, self.card, self.provider = NAME, card, provider
        self.batch_size = BATCH
        self._models = list(models)

    def infer(self, windows: FloatArray) -> FloatArray:
        """[batch, window_samples] -> [batch, classes], four at a time, the last filled with zeros; see `Runtime`."""
        check_open(self.name, bool(self._models))
        check_windows(windows, self.card)
        return run_in_batches(self._four, windows, self.card, fixed=BATCH)

    def _four(self, windows: FloatArray) -> FloatArray:
        import torch

        unread = {"rating": (BATCH, 1), "loss_target": (BATCH, 1), "embedding": (BATCH, 1, len(self.card.labels))}
        inputs = {name: torch.zeros(shape) for name, shape in unread.items()} | {"wave": torch.from_numpy(windows)}
        try:
            with torch.inference_mode():
                scores = [torch.sigmoid(model(inputs)).numpy() for model in self._models]
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[-1][:300]
            raise RuntimeUnavailableError(f"{self.name}: PyTorch failed: {reason}") from error
        mean: FloatArray = np.mean(scores, axis=0, dtype=np.float32)
        return mean

    def close(self) -> None:
        """Free the models."""
        self._models.clear()


def open_baseline(files: Sequence[Path], card: Card, threads: int | None) -> TorchScriptRuntime:
    """Load TorchScript files, which may run any code. Raises CheckpointError, RuntimeUnavailableError without torch."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: torch is there, but a library of it is not
        raise RuntimeUnavailableError(f"--baseline needs torch: pip install 'edgebird[export]' ({error})") from error
    torch.set_num_threads(threads or usable_cores())
    return TorchScriptRuntime([_load(file) for file in files], card, f"PyTorch {torch.__version__}, CPU")


def _load(file: Path) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript, which is what the original has
        try:
            return torch.jit.load(str(file), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError) as error:
            reason = "not a TorchScript file" if file.exists() else "no such file"
            raise CheckpointError(f"--baseline {file}: {reason}; wanted a *_jit_bs4.pt of the original") from error
