"""Freezing: the literal network -> the same function as constants and few operators.

Exact rewritings only. Kernels are standardised once; beta goes into the convolutions behind it, the residual scale
into conv3 (and out of the attention's taps, so that its gate stays the same); the spectrum is three small matrix
products; the recursion of PCEN over a known number of frames is one triangular matrix; powers are exp(p * log(x)),
which engines vectorise. Children are named as the graph's nodes shall be.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edgebird.export.families.folds.experiments import WINDOW_SAMPLES, Experiment
from edgebird.export.families.folds.fourier import RealFourier, real_fourier, split_bands, spread_filters
from edgebird.export.families.folds.network import (
    ALPHA,
    ATTENTION_GAIN,
    GEM_EPS,
    PCEN_EPS,
    POWER_FLOOR,
    TOP_DB,
    Block,
    FoldModel,
    LogMel,
    Pcen,
    Shortcut,
    StdConv,
    Stem,
)

# The frontend works in natural logarithms: the factor 10 / ln 10 of the decibel cancels in the scaling to 0..1.
_TOP_LOG = TOP_DB / 10.0 * float(np.log(10.0))
_RANGE_FLOOR = 1e-12  # below the spacing of float32 there: only a constant window has a smaller range


def _constant(values: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _float64(tensor: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = tensor.detach().double().numpy()
    return array


# ---------------------------------------------------------------------------------------------------------- frontends
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


# ----------------------------------------------------------------------------------------------------------- backbone
def _freeze_conv(conv: StdConv, scale: float = 1.0, bias_scale: float = 1.0) -> nn.Conv2d:
    """The convolution with its standardised kernel times `scale`, its bias times `bias_scale`; computed in float64."""
    kernel = deepcopy(conv).double().kernel().detach() * scale
    outputs, inputs, size, _ = kernel.shape
    frozen = nn.Conv2d(inputs * conv.groups, outputs, size, conv.stride, conv.padding, groups=conv.groups)
    frozen.weight.data = kernel.float()
    frozen.bias = nn.Parameter((conv.bias.detach().double() * bias_scale).float())
    return frozen


class FrozenStem(nn.Module):
    """Image [B, 1, H, W] -> [B, C, ceil(H / 4), ceil(W / 4)]."""

    def __init__(self, original: Stem) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            _freeze_conv(c) for c in (original.conv1, original.conv2, original.conv3, original.conv4)
        )
        self.act1, self.act2, self.act3 = nn.SiLU(), nn.SiLU(), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act2(self.conv2(self.act1(self.conv1(x))))
        result: Tensor = self.conv4(self.act3(self.conv3(x)))
        return result


class FrozenShortcut(nn.Module):
    """2x2 mean where there is a stride, then a 1x1 convolution that holds the block's beta."""

    def __init__(self, original: Shortcut, beta: float) -> None:
        super().__init__()
        stride = original.stride
        self.pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False) if stride == 2 else nn.Identity()
        self.conv = _freeze_conv(original.conv, beta)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(self.pool(x))
        return result


class FrozenGate(nn.Module):
    """x * sigmoid(convolution over the channel means); `scale` is the factor x carries already."""

    def __init__(self, original: nn.Conv1d, scale: float) -> None:
        super().__init__()
        taps = original.weight.shape[-1]
        self.conv = nn.Conv1d(1, 1, taps, padding=taps // 2, bias=False)
        self.conv.weight.data = (original.weight.detach().double() / scale).float()

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.conv(x.mean(dim=(2, 3))[:, None]))  # [B, 1, C]
        return x * gate.reshape(-1, gate.shape[-1], 1, 1)


class FrozenBlock(nn.Module):
    """[B, inputs, h, w] -> [B, outputs, ceil(h / stride), ceil(w / stride)]."""

    def __init__(self, original: Block) -> None:
        super().__init__()
        scale = ATTENTION_GAIN * ALPHA
        self.act = nn.SiLU()
        self.downsample = None if original.downsample is None else FrozenShortcut(original.downsample, original.beta)
        self.conv1, self.act1 = _freeze_conv(original.conv1, original.beta), nn.SiLU()
        self.conv2, self.act2 = _freeze_conv(original.conv2), nn.SiLU()
        self.conv2b, self.act2b = _freeze_conv(original.conv2b), nn.SiLU()
        self.conv3 = _freeze_conv(original.conv3, scale, scale)
        self.attn = FrozenGate(original.attn_last.conv, scale)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.act(x)
        branch = self.act1(self.conv1(inner))
        branch = self.act2b(self.conv2b(self.act2(self.conv2(branch))))
        shortcut = x if self.downsample is None else self.downsample(inner)
        result: Tensor = self.attn(self.conv3(branch)) + shortcut
        return result


def _freeze_stage(stage: nn.Module) -> nn.Sequential:
    return nn.Sequential(*(FrozenBlock(block) for block in stage.children() if isinstance(block, Block)))


class FrozenGeM(nn.Module):
    """Generalised mean [B, C, h, w] -> [B, C]."""

    def __init__(self, p: Tensor) -> None:
        super().__init__()
        self.p = float(p.detach().double())

    def forward(self, x: Tensor) -> Tensor:
        mean = torch.exp(torch.log(x.clamp(min=GEM_EPS)) * self.p).mean(dim=(2, 3))
        return torch.exp(torch.log(mean) * (1.0 / self.p))


class FrozenFold(nn.Module):
    """Image [B, 1, H, W] -> scores [B, classes] of one fold, 0 to 1."""

    def __init__(self, original: FoldModel) -> None:
        super().__init__()
        stem, stages, final = original.backbone
        assert isinstance(stem, Stem)
        assert isinstance(final, StdConv)
        self.stem = FrozenStem(stem)
        self.stages = nn.Sequential(*(_freeze_stage(stage) for stage in stages.children()))
        self.final_conv = _freeze_conv(final)
        self.pool = FrozenGeM(original.global_pool.p)
        self.head = nn.Sequential(OrderedDict(linear=deepcopy(original.head), sigmoid=nn.Sigmoid()))

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.head(self.pool(self.final_conv(self.stages(self.stem(image)))))
        return scores


# ------------------------------------------------------------------------------------------------------------- network
class FrozenNetwork(nn.Module):
    """Audio [B, 160000] -> scores [B, classes]: the mean of the folds' sigmoids; equal frontends are computed once.

    frontend: the distinct frontends. fold: the folds. image_of: for each fold, which frontend's image it takes.
    """

    def __init__(self, folds: Sequence[FoldModel]) -> None:
        super().__init__()
        frontends: list[nn.Module] = []
        self.image_of: list[int] = []
        for fold in folds:
            frontend = _freeze_frontend(fold)
            equal = [i for i, other in enumerate(frontends) if _equal(frontend, other)]
            if not equal:
                frontends.append(frontend)
            self.image_of.append(equal[0] if equal else len(frontends) - 1)
        self.frontend = nn.ModuleList(frontends)
        self.fold = nn.ModuleList(FrozenFold(fold) for fold in folds)

    def forward(self, audio: Tensor) -> Tensor:
        images = [frontend(audio) for frontend in self.frontend]
        scores = [fold(images[i]) for fold, i in zip(self.fold, self.image_of, strict=True)]
        return scores[0] if len(scores) == 1 else torch.stack(scores).mean(dim=0)


def _freeze_frontend(fold: FoldModel) -> nn.Module:
    frontend = fold.frontend
    if isinstance(frontend, Pcen):
        return FrozenPcen(frontend, fold.experiment)
    return FrozenLogMel(frontend, fold.experiment)


def _equal(one: nn.Module, other: nn.Module) -> bool:
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


def freeze(folds: Sequence[FoldModel]) -> FrozenNetwork:
    """Freeze folds of equal classes into one network."""
    return FrozenNetwork(folds).float().eval()
