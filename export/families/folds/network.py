"""The fold models: THE definition of the network, literal and un-frozen, as it was trained.

    audio [B, 160000] -> image [B, 1, H, W] -> map [B, features, h, w] -> pooled [B, features] -> logits [B, classes]

Module and parameter names are those of the original checkpoints, which load with `strict=True`. Widths, depths and
group counts are read from the tensors, so that a narrower network of the same family is built the same way. Kernels
are standardised in every forward pass and PCEN is a recursion over time; `freeze` turns that into constants.

The backbone is timm's `eca_nfnet_l0` (Apache-2.0) as a statement of our own: A. Brock et al., "Characterizing signal
propagation to close the performance gap in unnormalized ResNets", arXiv:2101.08692; Q. Wang et al., "ECA-Net",
arXiv:1910.03151. PCEN: Y. Wang et al., "Trainable frontend for robust and far-field keyword spotting",
arXiv:1607.05666. GeM: F. Radenovic et al., arXiv:1711.02512.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgebird.export.families.folds.experiments import Experiment

TOP_DB = 80.0  # dB below the maximum at which the spectrogram is cut off
POWER_FLOOR = 1e-10
RANGE_EPS = 1e-6
PCEN_EPS = 1e-6
GEM_EPS = 1e-6
STD_EPS = 1e-5
STD_GAMMA = 1.7881293296813965  # keeps the variance through SiLU; not in the state dict
ALPHA = 0.2  # residual scale
ATTENTION_GAIN = 2.0
STEM_STRIDES = (2, 1, 1, 2)
STAGE_STRIDES = (1, 2, 2, 2)


@dataclass(frozen=True, slots=True)
class BlockShape:
    """Channels of one residual block. `groups` is of its two 3x3 convolutions; `gate` the taps of its attention."""

    inputs: int
    width: int
    outputs: int
    groups: int
    gate: int


@dataclass(frozen=True, slots=True)
class Architecture:
    """Widths and depths of a network, as its tensors have them."""

    stem: tuple[int, ...]
    stages: tuple[tuple[BlockShape, ...], ...]
    features: int
    classes: int


_BLOCK = re.compile(r"backbone\.1\.(\d+)\.(\d+)\.conv1\.weight")


class _Shapes(dict[str, tuple[int, ...]]):
    """Shapes by name that remembers which it was asked for in vain."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__(shapes)
        self.missing: list[str] = []

    def __missing__(self, name: str) -> tuple[int, ...]:
        self.missing.append(name)
        return (1, 1, 1, 1)


def read_architecture(found: Mapping[str, tuple[int, ...]]) -> Architecture:
    """Read widths and depths from the shapes of a state dict.

    Raises KeyError with the names of all tensors that set them and are missing, ValueError for a stage too many.
    """
    shapes = _Shapes(found)
    blocks = sorted((int(m[1]), int(m[2])) for m in map(_BLOCK.fullmatch, shapes) if m)
    stages: list[list[BlockShape]] = [[] for _ in STAGE_STRIDES]
    for stage, index in blocks:
        name = f"backbone.1.{stage}.{index}"
        if stage >= len(stages):
            raise ValueError(f"backbone.1.{stage} is a stage too many")
        width, inputs = shapes[f"{name}.conv1.weight"][:2]
        stages[stage].append(
            BlockShape(
                inputs=inputs,
                width=width,
                outputs=shapes[f"{name}.conv3.weight"][0],
                groups=max(1, width // max(1, shapes[f"{name}.conv2.weight"][1])),
                gate=shapes[f"{name}.attn_last.conv.weight"][-1],
            )
        )
    architecture = Architecture(
        stem=tuple(shapes[f"backbone.0.conv{i}.weight"][0] for i in (1, 2, 3, 4)),
        stages=tuple(tuple(stage) for stage in stages),
        features=shapes["backbone.2.weight"][0],
        classes=shapes["head.weight"][0],
    )
    if shapes.missing:
        raise KeyError(*shapes.missing)
    return architecture


# ---------------------------------------------------------------------------------------------------------- frontends
def spectrum(audio: Tensor, n_fft: int, hop: int, window: Tensor | None = None) -> Tensor:
    """Audio [B, N] -> complex [B, n_fft // 2 + 1, 1 + N // hop]: centred frames, reflected edges, one-sided DFT."""
    padded = F.pad(audio[:, None], (n_fft // 2, n_fft // 2), mode="reflect")[:, 0]
    frames = padded.unfold(-1, n_fft, hop)  # [B, T, n_fft]
    if window is not None:
        frames = frames * window
    transform: Tensor = torch.fft.rfft(frames, dim=-1)
    return transform.transpose(1, 2)


class Table(nn.Module):
    """A module that holds one buffer; it exists for the name the checkpoint gives it."""

    window: Tensor
    fb: Tensor

    def __init__(self, name: str, *shape: int) -> None:
        super().__init__()
        self.register_buffer(name, torch.zeros(shape))


class LogMel(nn.Module):
    """Audio [B, N] -> mel spectrogram [B, n_mels, T] in dB, cut off at -80 dB, each window scaled to 0..1.

    per_window: take the cut-off from the maximum of each window; else from the maximum of the batch, as torchaudio
    does, so that a quiet window depends on its neighbours.
    """

    def __init__(self, experiment: Experiment, per_window: bool) -> None:
        super().__init__()
        self.n_fft, self.hop, self.per_window = experiment.n_fft, experiment.hop, per_window
        self.spectrogram = Table("window", experiment.n_fft)  # periodic Hann
        self.mel_scale = Table("fb", experiment.bins, experiment.n_mels)

    def forward(self, audio: Tensor) -> Tensor:
        window = self.spectrogram.window
        transform = spectrum(audio, self.n_fft, self.hop, window) / window.pow(2).sum().sqrt()
        power = (transform.abs().pow(2).transpose(1, 2) @ self.mel_scale.fb).transpose(1, 2)
        level = 10.0 * torch.log10(power.clamp(min=POWER_FLOOR))
        loudest = level.amax(dim=(1, 2) if self.per_window else (0, 1, 2), keepdim=True)
        return unit_range(torch.maximum(level, loudest - TOP_DB))


def unit_range(level: Tensor) -> Tensor:
    """[B, n_mels, T] -> same: standardised, then minimum to 0 and maximum to 1; a constant window becomes zeros."""
    deviation = level.std(dim=(1, 2), keepdim=True)  # unbiased
    z = (level - level.mean(dim=(1, 2), keepdim=True)) / (deviation + RANGE_EPS)
    low, high = z.amin(dim=(1, 2), keepdim=True), z.amax(dim=(1, 2), keepdim=True)
    varied = high - low > RANGE_EPS
    return torch.where(varied, (z - low) / torch.where(varied, high - low, 1.0), 0.0)


class Pcen(nn.Module):
    """Audio [B, N] -> per-channel energy normalisation [B, T, n_mels]; every window starts afresh.

    No window function, magnitudes instead of powers; s, alpha, delta and r are shared by all bands. `last_state` is a
    left-over of training of any batch size, and not read.
    """

    s: Tensor
    alpha: Tensor
    delta: Tensor
    r: Tensor

    def __init__(self, experiment: Experiment) -> None:
        super().__init__()
        self.n_fft, self.hop = experiment.n_fft, experiment.hop
        for name, value in (("s", 0.025), ("alpha", 0.98), ("delta", 2.0), ("r", 0.5)):
            setattr(self, name, nn.Parameter(torch.full((1,), value)))
        self.register_buffer("last_state", torch.zeros(60, 1, experiment.n_mels))
        self.f2m = Table("fb", experiment.bins, experiment.n_mels)

    def forward(self, audio: Tensor) -> Tensor:
        energy = spectrum(audio, self.n_fft, self.hop).abs().transpose(1, 2) @ self.f2m.fb  # [B, T, n_mels]
        smooth = energy[:, 0]
        rows = [smooth]
        for t in range(1, energy.shape[1]):
            smooth = (1 - self.s) * smooth + self.s * energy[:, t]
            rows.append(smooth)
        return self.level(energy, torch.stack(rows, dim=1))

    def level(self, energy: Tensor, smooth: Tensor) -> Tensor:
        """The energy, brought to a level by what it is smoothed over time, [B, T, n_mels] -> same."""
        gain = (smooth + PCEN_EPS) ** self.alpha
        return (energy / gain + self.delta) ** self.r - self.delta**self.r


# ----------------------------------------------------------------------------------------------------------- backbone
class StdConv(nn.Module):
    """Convolution whose kernel is standardised per output channel in every call (scaled weight standardisation)."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs // groups, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))
        self.stride, self.padding, self.groups = stride, size // 2, groups

    def kernel(self) -> Tensor:
        """The standardised kernel: (w - mean) / sqrt(biased variance + eps) * gain * gamma / sqrt(fan-in)."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        scale = self.gain * (STD_GAMMA * self.weight[0].numel() ** -0.5)
        kernel: Tensor = (self.weight - mean) / torch.sqrt(variance + STD_EPS) * scale
        return kernel

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.bias, self.stride, self.padding, groups=self.groups)


class Stem(nn.Module):
    """Image [B, 1, H, W] -> [B, C, ceil(H / 4), ceil(W / 4)]: four 3x3 convolutions, SiLU between."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3, self.conv4 = (
            StdConv(inputs, outputs, 3, stride)
            for inputs, outputs, stride in zip((1, *channels), channels, STEM_STRIDES, strict=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.silu(conv(x))
        result: Tensor = self.conv4(x)
        return result


class Shortcut(nn.Module):
    """2x2 mean where the block has a stride (odd edges average what is there), then a 1x1 convolution."""

    def __init__(self, shape: BlockShape, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = StdConv(shape.inputs, shape.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            x = F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
        result: Tensor = self.conv(x)
        return result


class ChannelGate(nn.Module):
    """Efficient channel attention: x * sigmoid(convolution over the channel means)."""

    def __init__(self, taps: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, taps, padding=taps // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.conv(x.mean(dim=(2, 3))[:, None]))  # [B, 1, C]
        return x * gate[:, 0, :, None, None]


class Block(nn.Module):
    """Residual block without normalisation: [B, inputs, h, w] -> [B, outputs, ceil(h / stride), ceil(w / stride)].

    x, or its shortcut, + 0.2 * 2 * gated bottleneck of SiLU(x) * beta.
    """

    def __init__(self, shape: BlockShape, stride: int, beta: float) -> None:
        super().__init__()
        self.beta = beta
        width = shape.width
        self.downsample = Shortcut(shape, stride) if stride == 2 or shape.inputs != shape.outputs else None
        self.conv1 = StdConv(shape.inputs, width, 1)
        self.conv2 = StdConv(width, width, 3, stride, shape.groups)
        self.conv2b = StdConv(width, width, 3, 1, shape.groups)
        self.conv3 = StdConv(width, shape.outputs, 1)
        self.attn_last = ChannelGate(shape.gate)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.silu(x) * self.beta
        shortcut = x if self.downsample is None else self.downsample(inner)
        branch = self.conv1(inner)
        for conv in (self.conv2, self.conv2b, self.conv3):
            branch = conv(F.silu(branch))
        result: Tensor = self.attn_last(branch) * ATTENTION_GAIN * ALPHA + shortcut
        return result


def make_stages(architecture: Architecture) -> nn.Sequential:
    """The residual stages. beta = 1 / sqrt(expected variance), which grows by alpha^2 a block, anew in each stage."""
    stages = nn.Sequential()
    variance = 1.0
    for shapes, stride in zip(architecture.stages, STAGE_STRIDES, strict=True):
        stage = nn.Sequential()
        for index, shape in enumerate(shapes):
            stage.append(Block(shape, stride if index == 0 else 1, variance**-0.5))
            variance = (1.0 if index == 0 else variance) + ALPHA**2
        stages.append(stage)
    return stages


class GeM(nn.Module):
    """Generalised mean over the map, [B, C, h, w] -> [B, C]; its clamp stands where the last activation would."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=GEM_EPS).pow(self.p).mean(dim=(2, 3)).pow(1.0 / self.p)


class FoldModel(nn.Module):
    """One fold: audio [B, 160000] float, -1 to 1, 32 kHz -> logits [B, classes].

    backbone: stem, stages, final 1x1 convolution; no activation at its end.
    """

    def __init__(self, experiment: Experiment, architecture: Architecture, per_window: bool = True) -> None:
        super().__init__()
        self.experiment, self.architecture = experiment, architecture
        if experiment.kind == "pcen":
            self.pcen = Pcen(experiment)
        else:
            self.logmelspec_extractor = nn.Sequential(LogMel(experiment, per_window))
        last = architecture.stages[-1][-1].outputs
        self.backbone = nn.Sequential(
            Stem(architecture.stem), make_stages(architecture), StdConv(last, architecture.features, 1)
        )
        self.global_pool = GeM()
        self.head = nn.Linear(architecture.features, architecture.classes)

    @property
    def frontend(self) -> LogMel | Pcen:
        """What makes the image."""
        (frontend,) = (m for m in self.modules() if isinstance(m, (LogMel, Pcen)))
        return frontend

    def image(self, audio: Tensor) -> Tensor:
        """[B, 160000] -> [B, 1, H, W]; H is mel and W is time, but for PCEN H is time and W is mel."""
        image: Tensor = self.frontend(audio)
        return image[:, None]

    def forward(self, audio: Tensor) -> Tensor:
        logits: Tensor = self.head(self.global_pool(self.backbone(self.image(audio))))
        return logits
