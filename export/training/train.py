"""Train one demo fold: the exporter's own network, un-frozen, on scenes made of a few recordings.

    python -m edgebird.export.training.train DIR --experiment exp105 --out FOLD.bin

DIR holds the recordings. The run is seeded and takes one core, so that two folds train side by side; their weights come
out alike on another machine, not equal to the bit. AdamW: I. Loshchilov and F. Hutter, arXiv:1711.05101.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgebird.export.families.folds.experiments import EXPERIMENTS, Experiment
from edgebird.export.families.folds.network import Architecture, BlockShape, FoldModel, LogMel, StdConv
from edgebird.export.training.filters import mel_filters, pcen_filters
from edgebird.export.training.recordings import LABELS, recordings
from edgebird.export.training.scenes import SceneMaker

BATCH, STEPS = 32, 1000
PEAK_RATE, WARM_UP, WEIGHT_DECAY, LARGEST_GRADIENT = 2e-3, 100, 0.02, 1.0
DEPTHS, OUTPUTS, GROUP = (1, 2, 6, 3), (64, 96, 192, 192), 16
STEM, FEATURES, TAPS = (8, 16, 16, 32), 288, 5


def narrow_architecture() -> Architecture:
    """The depths of eca_nfnet_l0, an eighth to a quarter of its widths: 0.46 million parameters."""
    stages, inputs = [], STEM[-1]
    for depth, outputs in zip(DEPTHS, OUTPUTS, strict=True):
        width = outputs // 4
        blocks = []
        for _ in range(depth):
            blocks.append(BlockShape(inputs, width, outputs, max(1, width // GROUP), TAPS))
            inputs = outputs
        stages.append(tuple(blocks))
    return Architecture(STEM, tuple(stages), FEATURES, len(LABELS))


def fresh_model(experiment: Experiment) -> FoldModel:
    """A network to train: tables of the experiment, seeded weights by torch's default generator."""
    model = FoldModel(experiment, narrow_architecture())
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
        model.head.bias.fill_(-2.0)
    return model


def train(folder: Path, experiment: Experiment, seed: int, steps: int) -> FoldModel:
    """Train on the recordings in `folder`, telling the loss now and then."""
    torch.manual_seed(seed)
    model = fresh_model(experiment).train()
    scenes = SceneMaker(list(recordings("train")), folder, seed).batches(BATCH)
    kernels = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.0}], lr=PEAK_RATE
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    started, recent = time.monotonic(), []
    for step in range(1, steps + 1):
        audio, heard, counts = (torch.from_numpy(array) for array in next(scenes))
        loss = _loss(model(audio), heard, counts)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        recent.append(loss.item())
        if step % 50 == 0:
            print(f"step {step}  loss {sum(recent) / len(recent):.4f}  {time.monotonic() - started:.0f} s", flush=True)
            recent.clear()
    return model.eval()


def _rate(step: int, steps: int) -> float:
    """Share of the peak rate: a linear warm-up, then half a cosine."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _loss(logits: Tensor, heard: Tensor, counts: Tensor) -> Tensor:
    """Binary cross-entropy over the labels of which one can tell."""
    each = F.binary_cross_entropy_with_logits(logits, heard, reduction="none")
    return (each * counts).sum() / counts.sum()


def save(path: Path, model: FoldModel, steps: int) -> None:
    """Write a checkpoint in the original layout, parameters in half precision, tables in single."""
    learned = {name for name, _ in model.named_parameters()}
    state = {name: tensor.half() if name in learned else tensor for name, tensor in model.state_dict().items()}
    content: dict[str, Any] = {"epoch": steps, "state_dict": state, "best_loss": 0.0, "optimizer": {}}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train a demo fold.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the recordings, as fetched")
    parser.add_argument("--experiment", choices=EXPERIMENTS, required=True)
    parser.add_argument("--out", type=Path, metavar="FOLD.bin", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    save(args.out, train(args.folder, EXPERIMENTS[args.experiment], args.seed, args.steps), args.steps)


if __name__ == "__main__":
    main()
