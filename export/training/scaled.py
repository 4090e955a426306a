"""The networks that are trained to be measured: eca_nfnet_l0 at a share of its widths, fresh, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgebird.export.families.folds.experiments import Experiment
from edgebird.export.families.folds.network import Architecture, BlockShape, FoldModel, LogMel, Pcen, StdConv, spectrum
from edgebird.export.training.filters import mel_filters, pcen_filters

DEPTHS, OUTPUTS, GROUPS = (1, 2, 6, 3), (256, 512, 1536, 1536), (1, 2, 6, 6)
STEM, FEATURES, TAPS = (16, 32, 64, 128), 2304, 5


def scaled_architecture(width: float, classes: int) -> Architecture:
    """The depths and numbers of groups of eca_nfnet_l0, its channels times `width` (1/8, 1/4, 1/2 or 1)."""
    stages, inputs = [], round(STEM[-1] * width)
    for depth, full, groups in zip(DEPTHS, OUTPUTS, GROUPS, strict=True):
        outputs, blocks = round(full * width), []
        for _ in range(depth):
            blocks.append(BlockShape(inputs, outputs // 4, outputs, groups, TAPS))
            inputs = outputs
        stages.append(tuple(blocks))
    return Architecture(tuple(round(c * width) for c in STEM), tuple(stages), round(FEATURES * width), classes)


def fresh(experiment: Experiment, architecture: Architecture) -> FoldModel:
    """A network to train: tables of the experiment, weights by torch's default generator."""
    model = FoldModel(experiment, architecture)
    frontend = model.frontend
    with torch.no_grad():
        if isinstance(frontend, LogMel):
            frontend.spectrogram.window.copy_(torch.hann_window(experiment.n_fft))
            frontend.mel_scale.fb.copy_(torch.from_numpy(mel_filters(experiment)))
        else:
            frontend.f2m.fb.copy_(torch.from_numpy(pcen_filters(experiment)))
        for module in model.modules():
            if isinstance(module, StdConv):
                module.weight.normal_(0, module.weight[0].numel() ** -0.5)
        model.state_dict()["backbone.0.conv1.gain"].fill_(6.0)  # the image has a standard deviation of only 0.15
        model.head.bias.fill_(-3.0)
    return model


def image(model: FoldModel, audio: Tensor) -> Tensor:
    """What `model.image` makes, [B, 1, H, W], PCEN's recursion as one product so that a GPU is not kept waiting."""
    frontend = model.frontend
    if not isinstance(frontend, Pcen):
        return model.image(audio)
    energy = spectrum(audio, frontend.n_fft, frontend.hop).abs().transpose(1, 2) @ frontend.f2m.fb
    return frontend.level(energy, smoother(frontend.s, energy.shape[1]) @ energy)[:, None]


def smoother(s: Tensor, frames: int) -> Tensor:
    """[T, T]: M = A x is M[0] = x[0], M[t] = (1 - s) M[t-1] + s x[t]."""
    time = torch.arange(frames, device=s.device)
    age = time[:, None] - time
    matrix = torch.where(age >= 0, torch.exp(age.clamp(min=0) * torch.log1p(-s)), 0.0)
    return torch.cat([matrix[:, :1], matrix[:, 1:] * s], dim=1)


def save_fold(path: Path, model: FoldModel, steps: int, loss: float, dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint in the original layout, without the optimizer's moments; parameters in `dtype`."""
    learned = {name for name, _ in model.named_parameters()}
    state = {
        name: (tensor.to(dtype) if name in learned else tensor).cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }
    content: dict[str, Any] = {"epoch": steps, "state_dict": state, "best_loss": np.float64(loss), "optimizer": {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
