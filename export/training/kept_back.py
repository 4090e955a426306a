"""What a fold in training scores on recordings that were kept back, as they are: window by window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgebird.export.families.folds.experiments import SAMPLE_RATE, WINDOW_SAMPLES
from edgebird.export.training.material import CODES, SPECIES, Take, TrainingMaterial
from edgebird.types import FloatArray

HOP = round(2.5 * SAMPLE_RATE)
_BATCH = 16
_LEVEL = 0.1  # peak of a recording, of full scale
_DITHER = 2**-15  # behind a recording's end: the least that a recorder has


def judge(logits: Callable[[Tensor], Tensor], material: TrainingMaterial, device: torch.device) -> dict[str, Any]:
    """Score the kept-back recordings; the last window of each is filled up with faint noise.

    Returns `labels`, a row for each: windows in which it is heard and is not, scores over .3 and .5, lowest and
    highest; and `windows`: every score by recording.
    """
    clips = material.of("test")
    windows, seconds = [], []
    for clip in clips:
        for start in range(0, max(1, clip.length - WINDOW_SAMPLES + HOP), HOP):
            windows.append(_window(material, clip, start))
            seconds.append(_seconds(clip, start))
    with torch.no_grad():
        parts = [
            torch.sigmoid(logits(torch.from_numpy(np.stack(windows[i : i + _BATCH])).to(device))).float().cpu()
            for i in range(0, len(windows), _BATCH)
        ]
    scores = torch.cat(parts).numpy()
    told = np.array(seconds, np.float32)
    names = [clip.name for clip in clips for _ in range(0, max(1, clip.length - WINDOW_SAMPLES + HOP), HOP)]
    by_name: dict[str, list[list[float]]] = {name: [] for name in names}
    for name, row in zip(names, scores, strict=True):
        by_name[name].append([round(float(score), 3) for score in row])
    return {"labels": [_row(index, scores, told) for index in range(len(CODES))], "windows": by_name}


def _window(material: TrainingMaterial, clip: Take, start: int) -> FloatArray:
    audio = material.audio[clip.start : clip.start + clip.length].astype(np.float32)
    audio = audio[start : start + WINDOW_SAMPLES] * (_LEVEL / max(1.0, float(np.abs(audio).max())))
    window: FloatArray = np.random.default_rng(start).standard_normal(WINDOW_SAMPLES, np.float32) * np.float32(_DITHER)
    window[: len(audio)] += audio
    return window


def _seconds(clip: Take, start: int) -> list[float]:
    """Of each label's calls in a window; NaN where nobody can tell."""
    return [
        float("nan")
        if code in clip.unknown
        else sum(max(0, min(e, start + WINDOW_SAMPLES) - max(b, start)) for b, e in clip.calls.get(code, ()))
        / SAMPLE_RATE
        for code in CODES
    ]


def _row(index: int, scores: NDArray[np.float32], seconds: FloatArray) -> dict[str, Any]:
    heard = scores[seconds[:, index] >= SPECIES[index].heard_s, index]
    silent = scores[seconds[:, index] == 0, index]
    return {
        "label": CODES[index],
        "heard": len(heard),
        "found at .3": int((heard >= 0.3).sum()),
        "found at .5": int((heard >= 0.5).sum()),
        "lowest": round(float(heard.min()), 3) if len(heard) else None,
        "silent": len(silent),
        "false at .3": int((silent >= 0.3).sum()),
        "false at .5": int((silent >= 0.5).sum()),
        "highest": round(float(silent.max()), 3),
    }
