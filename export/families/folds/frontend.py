"""Freezing the frontends: audio -> image, as constants and few operators; freeze.py says what is rewritten and why."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgebird.export.families.folds.experiments import WINDOW_SAMPLES, Experiment
from edgebird.export.families.folds.fourier import RealFourier, real_fourier, split_bands, spread_filters
from edgebird.export.families.folds.network import PCEN_EPS, POWER_FLOOR, TOP_DB, FoldModel, LogMel, Pcen

# The frontend works in natural logarithms: the factor 10 / ln 10 of the decibel cancels in the scaling to 0..1.
_TOP_LOG = TOP_DB / 10.0 * float(np.log(10.0))
_RANGE_FLOOR = 1e-12  # below the spacing of float32 there: only a constant window has a smaller range


def _constant(values: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _float64(tensor: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.detach().double().numpy()
    return array


class Frames(nn.Module):
    """Audio [B, 160000] -> overlapping frames [B, n_fft, T], reflected at the edges; time last, as products want it.

    centre: subtract from each frame the mean of the hops it touches. A DC offset would leak into every band by
    rounding; the filters give no weight to the bins that hold it, so the result is the same.
    """

    def __init__(self, experiment: Experiment, centre: bool) -> None:
        super().__init__()
        self.n_fft, self.hop, self.centre = experiment.n_fft, experiment.hop, centre
        self.overlap = -(-self.n_fft // self.hop)  # hops that a frame touches
        self.count = 1 + WINDOW_SAMPLES // self.hop

    def forward(self, audio: Tensor) -> Tensor:
        left = self.n_fft // 2
        hops = self.count + self.overlap - 1
        right = hops * self.hop - WINDOW_SAMPLES - left  # what it adds behind the last frame is not used
        padded = F.pad(audio[:, None], (left, right), mode="reflect").reshape(-1, hops, self.hop)
        columns = padded.transpose(1, 2)  # [B, hop, hops]
        parts = []
        for i in range(self.overlap):
            part = columns[:, :, i : i + self.count]
            missing = self.n_fft - i * self.hop
            parts.append(part[:, :missing] if missing < self.hop else part)
        frames = torch.cat(parts, dim=1)
        if not self.centre:
            return frames
        return frames - F.avg_pool1d(padded.mean(dim=2)[:, None], self.overlap, stride=1)


class Spectrum(nn.Module):
    """Frames [B, n_fft, T] -> power [B, outputs, T] of the bins in the order of `fourier.bins`."""

    first: Tensor
    window: Tensor

    def __init__(self, fourier: RealFourier, window: NDArray[np.float64] | None = None) -> None:
        super().__init__()
        self.radices, self.later = fourier.radices, [f"stage{i + 2}" for i in range(len(fourier.later))]
        self.register_buffer("first", _constant(fourier.first))
        for name, matrices in zip(self.later, fourier.later, strict=True):
            self.register_buffer(name, _constant(matrices))
        self.windowed = window is not None
        if window is not None:
            self.register_buffer("window", _constant(window[:, None]))

    def forward(self, frames: Tensor) -> Tensor:
        size, count = frames.shape[1:]
        if self.windowed:
            frames = frames * self.window
        rest = size // self.radices[0]  # samples not summed over yet
        y = self.first @ frames.reshape(-1, self.radices[0], rest * count)
        for radix, name in zip(self.radices[1:], self.later, strict=True):
            matrices: Tensor = self.get_buffer(name)  # [bins, 2 radix, 2 radix]
            rest //= radix
            y = matrices @ y.reshape(-1, len(matrices), 2 * radix, rest * count)  # [B, bins, 2 radix, rest * T]
        power = (y * y).reshape(-1, len(matrices), 2, radix * count).sum(dim=2)
        return power.reshape(-1, len(matrices) * radix, count)


class Filters(nn.Module):
    """Spectrum [B, outputs, T] -> bands [B, n_mels, T]; the low bands, which need few bins, are filtered apart."""

    low: Tensor
    high: Tensor
    outputs: Tensor

    def __init__(self, bank: NDArray[np.float64], fourier: RealFourier) -> None:
        super().__init__()
        spread = spread_filters(bank, fourier)
        bands, outputs = split_bands(spread)
        self.register_buffer("outputs", torch.from_numpy(outputs))
        self.register_buffer("low", _constant(spread[:bands, outputs]))
        self.register_buffer("high", _constant(spread[bands:]))

    def forward(self, spectrum: Tensor) -> Tensor:
        low = self.low @ spectrum.index_select(1, self.outputs)
        return torch.cat([low, self.high @ spectrum], dim=1)


class FrozenLogMel(nn.Module):
    """Audio [B, 160000] -> image [B, 1, n_mels, T], 0 to 1."""

    def __init__(self, original: LogMel, experiment: Experiment) -> None:
        super().__init__()
        self.axes = [1, 2] if original.per_window else [0, 1, 2]
        window, bank = _float64(original.spectrogram.window), _float64(original.mel_scale.fb)
        self.frames = Frames(experiment, centre=not bank[:2].any())  # under a Hann window DC lies in bins 0 and 1
        fourier = real_fourier(experiment.n_fft)
        self.spectrum = Spectrum(fourier, window / np.sqrt(np.sum(window**2)))
        self.filters = Filters(bank, fourier)

    def forward(self, audio: Tensor) -> Tensor:
        level = torch.log(self.filters(self.spectrum(self.frames(audio))).clamp(min=POWER_FLOOR))
        level = torch.maximum(level, level.amax(dim=self.axes, keepdim=True) - _TOP_LOG)
        low, high = level.amin(dim=(1, 2), keepdim=True), level.amax(dim=(1, 2), keepdim=True)
        return ((level - low) / (high - low).clamp(min=_RANGE_FLOOR))[:, None]


class FrozenPcen(nn.Module):
    """Audio [B, 160000] -> image [B, 1, T, n_mels]."""

    smoother: Tensor

    def __init__(self, original: Pcen, experiment: Experiment) -> None:
        super().__init__()
        bank = _float64(original.f2m.fb)
        self.frames = Frames(experiment, centre=not bank[0].any())
        fourier = real_fourier(experiment.n_fft)
        self.spectrum = Spectrum(fourier)
        self.filters = Filters(bank, fourier)
        self.s, self.alpha, self.delta, self.r = (
            float(getattr(original, name).detach().double()) for name in ("s", "alpha", "delta", "r")
        )
        self.register_buffer("smoother", _constant(_smoother(self.s, self.frames.count).T))

    def forward(self, audio: Tensor) -> Tensor:
        energy: Tensor = self.filters(torch.sqrt(self.spectrum(self.frames(audio))))  # [B, n_mels, T]
        smooth = energy @ self.smoother
        leveled = energy * torch.exp(torch.log(smooth + PCEN_EPS) * -self.alpha)
        root: Tensor = torch.exp(torch.log(leveled + self.delta) * self.r) - self.delta**self.r
        return root.transpose(1, 2)[:, None]


def _smoother(s: float, frames: int) -> NDArray[np.float64]:
    """[T, T]: M = A x is M[0] = x[0], M[t] = (1 - s) M[t-1] + s x[t]; A[t, 0] = (1-s)^t, A[t, k] = s (1-s)^(t-k)."""
    t = np.arange(frames)
    matrix: NDArray[np.float64] = np.tril(np.power(1.0 - s, np.maximum(t[:, None] - t, 0)))
    matrix[:, 1:] *= s
    return matrix


def freeze_frontend(fold: FoldModel) -> nn.Module:
    """What computes a fold's images, frozen."""
    frontend = fold.frontend
    if isinstance(frontend, Pcen):
        return FrozenPcen(frontend, fold.experiment)
    return FrozenLogMel(frontend, fold.experiment)


def same_frontend(one: nn.Module, other: nn.Module) -> bool:
    """Whether two frontends compute the same: their kind, constants and scalars."""
    if type(one) is not type(other) or _scalars(one) != _scalars(other):
        return False
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def _scalars(frontend: nn.Module) -> dict[str, object]:
    return {
        f"{name}.{key}": value
        for name, module in frontend.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, (int, float, list)) and key != "training"
    }
