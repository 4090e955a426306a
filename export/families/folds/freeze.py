"""Freezing: the literal network -> the same function as constants and few operators.

Exact rewritings only. Kernels are standardised once; beta goes into the convolutions behind it, the residual scale
into conv3 (and out of the attention's taps, so that its gate stays the same); the spectrum is three small matrix
products; the recursion of PCEN over a known number of frames is one triangular matrix; powers are exp(p * log(x)),
which engines vectorise. Children are named as the graph's nodes shall be. The frontends are in frontend.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from edgebird.export.families.folds.frontend import freeze_frontend, same_frontend
from edgebird.export.families.folds.network import (
    ALPHA,
    ATTENTION_GAIN,
    GEM_EPS,
    Block,
    FoldModel,
    Shortcut,
    StdConv,
    Stem,
)


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
            frontend = freeze_frontend(fold)
            equal = [i for i, other in enumerate(frontends) if same_frontend(frontend, other)]
            if not equal:
                frontends.append(frontend)
            self.image_of.append(equal[0] if equal else len(frontends) - 1)
        self.frontend = nn.ModuleList(frontends)
        self.fold = nn.ModuleList(FrozenFold(fold) for fold in folds)

    def forward(self, audio: Tensor) -> Tensor:
        images = [frontend(audio) for frontend in self.frontend]
        scores = [fold(images[i]) for fold, i in zip(self.fold, self.image_of, strict=True)]
        return scores[0] if len(scores) == 1 else torch.stack(scores).mean(dim=0)


def freeze(folds: Sequence[FoldModel]) -> FrozenNetwork:
    """Freeze folds of equal classes into one network."""
    return FrozenNetwork(folds).float().eval()
