"""The four experiments of the BirdCLEF 2023 4th place, and how to tell them apart by their tensors.

Source: A. Fujita, "Knowledge Distillation Is All You Need", code at
github.com/AtsunoriFujita/BirdCLEF-2023-Identify-bird-calls-in-soundscapes (MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

from edgebird.errors import CheckpointError

SAMPLE_RATE = 32_000  # Hz
WINDOW_SAMPLES = 160_000  # 5 s


@dataclass(frozen=True, slots=True)
class Experiment:
    """What the tensors of a fold do not say about its frontend.

    kind: `mel` (log mel spectrogram, 0 to 1) or `pcen`. n_fft, hop: samples. n_mels: bands.
    """

    name: str
    kind: str
    n_fft: int
    hop: int
    n_mels: int

    @property
    def bins(self) -> int:
        """How many bins the one-sided spectrum has."""
        return self.n_fft // 2 + 1

    @property
    def filter_key(self) -> str:
        """Name of the tensor that holds the filter bank, [bins, n_mels]."""
        return "pcen.f2m.fb" if self.kind == "pcen" else "logmelspec_extractor.0.mel_scale.fb"


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment("exp105", "mel", n_fft=2048, hop=512, n_mels=128),
        Experiment("exp106", "mel", n_fft=2048, hop=512, n_mels=128),  # exp105's graph, other training
        Experiment("exp107", "pcen", n_fft=2048, hop=512, n_mels=128),
        Experiment("exp108", "mel", n_fft=1024, hop=320, n_mels=64),
    )
}


def recognise(shapes: Mapping[str, tuple[int, ...]], path: PurePath, override: str | None = None) -> Experiment:
    """Tell which experiment a checkpoint is of.

    shapes: name and shape of every tensor. path: where it came from; of experiments with one graph (exp105, exp106)
    the one that the path names is taken, else the first. override: the experiment the user named; it must fit.

    Raises CheckpointError if no experiment fits, or not the one named.
    """
    if override is not None and override not in EXPERIMENTS:
        raise CheckpointError(f"unknown experiment {override!r}: use one of {', '.join(EXPERIMENTS)}")
    fitting = [e for e in EXPERIMENTS.values() if shapes.get(e.filter_key) == (e.bins, e.n_mels)]
    if not fitting:
        banks = [f"{e.filter_key} [{e.bins}, {e.n_mels}]" for e in EXPERIMENTS.values() if e.name != "exp106"]
        found = [f"{k} {list(v)}" for k, v in shapes.items() if k.endswith(".fb")]
        raise CheckpointError(
            f"{path}: not a fold of {', '.join(EXPERIMENTS)}: wanted a filter bank {' or '.join(banks)}, "
            f"found {', '.join(found) or 'none'}"
        )
    if override is not None:
        if EXPERIMENTS[override] not in fitting:
            raise CheckpointError(
                f"{path}: the tensors are those of {' or '.join(e.name for e in fitting)}, not of {override}"
            )
        return EXPERIMENTS[override]
    for part in reversed(path.parts):  # the name of the file before those of its folders
        for experiment in fitting:
            if experiment.name in part:
                return experiment
    return fitting[0]
