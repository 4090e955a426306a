"""Train one fold to measure on, resumable: ECA-NFNet-L0 at half or full width, on scenes of many birds.

    python -m edgebird.export.training.material PACKAGES MATERIAL.npz
    python -m edgebird.export.training.folds --material MATERIAL.npz --experiment exp105 --width 0.5 --out FOLDER

Needs torch and NumPy alone. FOLDER/resume.pt is written every 200 steps; the same command goes on from there. At the
end FOLDER/<experiment>_eca_nfnet_l0/fold_<n>_model.bin is a checkpoint that `edgebird export` takes with
FOLDER/labels.csv, and FOLDER/<experiment>.json says how it was trained and what it scores on recordings that were kept
back. The run is seeded: on a CPU the same machine makes the same bits, on a GPU nearly. AdamW: I. Loshchilov and
F. Hutter, arXiv:1711.05101.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from edgebird.errors import EdgebirdError
from edgebird.export.checkpoint import Checkpoint, read_checkpoint
from edgebird.export.families.folds.experiments import EXPERIMENTS
from edgebird.export.families.folds.network import FoldModel
from edgebird.export.training.kept_back import judge
from edgebird.export.training.material import CODES, SPECIES, TrainingMaterial, load_material
from edgebird.export.training.mixing import Draw, Drawer, SceneMixer
from edgebird.export.training.scaled import fresh, image, save_fold, scaled_architecture

FOLD_NUMBER = {"exp105": 0, "exp106": 3, "exp107": 4, "exp108": 2}  # as the original files are numbered
CHECKPOINT_STEPS = 200
WARM_UP, WEIGHT_DECAY, LARGEST_GRADIENT = 100, 0.02, 1.0
_TAKEN = ("backbone.", "global_pool.", "head.")  # of the fold that another begins with
_KERNEL = 4  # dimensions of one
_DRAWING = 3  # processes that draw scenes for a GPU, which would wait for them


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How a fold is trained.

    steps: at most. rate: the largest learning rate. seconds: after which it has come to its end, with the rate of the
    last step, however many steps were taken; 0: never. bfloat16: compute the backbone in it. start:
    SHA-256 of the fold whose backbone and head it begins with; none: with random ones.
    """

    experiment: str
    width: float
    seed: int
    steps: int
    batch: int
    rate: float
    seconds: float = 0.0
    bfloat16: bool = False
    start: str = ""


class _Draws(Dataset[Draw]):
    """The scenes of steps, for processes that draw them."""

    def __init__(self, drawer: Drawer, size: int) -> None:
        self._drawer, self._size = drawer, size

    def __getitem__(self, step: int) -> Draw:
        torch.set_num_threads(1)
        return self._drawer.draw(step, self._size)


def _same(draw: Any) -> Any:
    return draw


class Training:
    """A fold in training, and what goes on from where it was stopped."""

    def __init__(self, plan: TrainingPlan, material: TrainingMaterial, device: torch.device) -> None:
        torch.manual_seed(plan.seed)
        self.plan, self.device = plan, device
        self.model = fresh(EXPERIMENTS[plan.experiment], scaled_architecture(plan.width, len(CODES))).to(device).train()
        self.model.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.drawer = Drawer(material, "train", plan.seed)
        self.mixer = SceneMixer(material, plan.seed, device)
        kernels = [p for p in self.model.parameters() if p.ndim > 1]
        rest = [p for p in self.model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": kernels, "weight_decay": WEIGHT_DECAY}, {"params": rest, "weight_decay": 0.0}],
            lr=plan.rate,
            fused=device.type == "cuda",
        )
        self.step, self.elapsed, self.losses = 0, 0.0, list[float]()

    def begin_with(self, fold: Checkpoint) -> None:
        """Take backbone, pooling and head of another fold. Raises EdgebirdError if it is not of this width.

        The image of PCEN has time where that of the log mel has frequency: there kernels are turned.
        """
        taken = {name: value for name, value in fold.tensors.items() if name.startswith(_TAKEN)}
        wanted = {
            name: tuple(value.shape) for name, value in self.model.state_dict().items() if name.startswith(_TAKEN)
        }
        if {name: tuple(value.shape) for name, value in taken.items()} != wanted:
            raise EdgebirdError(f"{fold.path}: it is no fold of this width and so many labels")
        if _has_pcen(fold.tensors) != _has_pcen(self.model.state_dict()):
            taken = {name: value.mT if value.ndim == _KERNEL else value for name, value in taken.items()}
        self.model.load_state_dict(taken, strict=False)

    def logits(self, audio: Tensor) -> Tensor:
        """Of a batch of windows; the backbone in bfloat16 if so planned, what goes before and behind in float32."""
        with torch.autocast(self.device.type, enabled=False):
            picture = image(self.model, audio).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.plan.bfloat16):
            features = self.model.backbone(picture)
        pooled: Tensor = self.model.global_pool(features.float())
        logits: Tensor = self.model.head(pooled)
        return logits

    def progress(self) -> float:
        """0 at the start, 1 at the end."""
        by_time = self.elapsed / self.plan.seconds if self.plan.seconds else 0.0
        return min(1.0, max(self.step / self.plan.steps, by_time))

    def learn(self, draw: Draw) -> Tensor:
        """One step; returns its loss."""
        share = min(1.0, (self.step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * self.progress()))
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate * share
        with torch.no_grad():
            audio, heard, counts = self.mixer.mix(self.step, draw)
        each = F.binary_cross_entropy_with_logits(self.logits(audio), heard, reduction="none")
        loss = (each * counts).sum() / counts.sum()
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        self.step += 1
        return loss.detach()

    def draws(self) -> Iterator[Draw]:
        """Of the steps that are left."""
        return iter(
            DataLoader[Draw](
                _Draws(self.drawer, self.plan.batch),
                batch_size=None,
                sampler=range(self.step, self.plan.steps),
                num_workers=_DRAWING if self.device.type == "cuda" else 0,
                collate_fn=_same,
            )
        )

    def save(self, path: Path) -> None:
        """Write where it stands, whole or not at all."""
        content = {"plan": asdict(self.plan), "step": self.step, "elapsed": self.elapsed, "losses": self.losses}
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        new = path.with_suffix(".new")
        torch.save(content | state, new)
        os.replace(new, path)

    def resume(self, path: Path) -> None:
        """Go on from there. Raises EdgebirdError if another fold was trained there."""
        stored: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if stored["plan"] != asdict(self.plan):
            raise EdgebirdError(f"{path}: of another training: {stored['plan']}; take another --out")
        self.model.load_state_dict(stored["model"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.step, self.elapsed, self.losses = stored["step"], stored["elapsed"], stored["losses"]


def _has_pcen(tensors: Mapping[str, Tensor]) -> bool:
    return any(name.startswith("pcen.") for name in tensors)


def train(training: Training, resume: Path, every: int = CHECKPOINT_STEPS) -> FoldModel:
    """Train to the end, telling now and then how fast and how well."""
    if resume.exists():
        training.resume(resume)
        print(f"going on from step {training.step}", flush=True)
    recent: list[Tensor] = []
    before, told, told_at = training.elapsed, training.step, time.monotonic()
    started = told_at
    for draw in training.draws():
        if training.progress() >= 1:
            break
        recent.append(training.learn(draw))
        if training.step % 50 == 0 or training.step == training.plan.steps:
            loss, now = float(torch.stack(recent).mean()), time.monotonic()  # waits for the device
            pace = (training.step - told) / (now - told_at)
            told, told_at = training.step, now
            recent.clear()
            training.losses.append(round(loss, 5))
            done = f"step {training.step}  loss {loss:.4f}  {pace:.1f} steps/s"
            print(f"{training.plan.experiment}  {done}  {now - started:.0f} s", flush=True)
            if not math.isfinite(loss):
                raise EdgebirdError(f"{training.plan.experiment}: the loss is {loss} at step {training.step}")
        training.elapsed = before + time.monotonic() - started
        if training.step % every == 0:
            training.save(resume)
    training.save(resume)
    return training.model.eval()


def finish(training: Training, material: TrainingMaterial, out: Path, half: bool) -> None:
    """Write the checkpoint, the labels and the report."""
    plan = training.plan
    path = out / f"{plan.experiment}_eca_nfnet_l0" / f"fold_{FOLD_NUMBER[plan.experiment]}_model.bin"
    loss = training.losses[-1] if training.losses else math.nan
    save_fold(path, training.model, training.step, loss, torch.float16 if half else torch.float32)
    write_labels(out / "labels.csv")
    report = asdict(plan) | {
        "device": torch.cuda.get_device_name() if training.device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "steps_done": training.step,
        "training_s": round(training.elapsed, 1),
        "losses_of_50_steps": training.losses,
        "kept_back": judge(training.logits, material, training.device),
    }
    (out / f"{plan.experiment}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for row in report["kept_back"]["labels"]:
        print(plan.experiment, row, flush=True)
    print(f"{path}: {path.stat().st_size} bytes after {training.step} steps in {training.elapsed:.0f} s", flush=True)


def write_labels(path: Path) -> None:
    """The labels of the folds, in the order of their outputs."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["code", "scientific_name", "common_name"])
        for species in SPECIES:
            writer.writerow([species.label.code, species.label.scientific_name, species.label.common_name])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train a fold to measure on.")
    parser.add_argument("--material", type=Path, metavar="FILE", required=True)
    parser.add_argument("--experiment", choices=EXPERIMENTS, required=True)
    parser.add_argument("--out", type=Path, metavar="FOLDER", required=True)
    parser.add_argument("--width", type=float, choices=(0.125, 0.25, 0.5, 1.0), default=0.5)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=0.0, help="end after so long at the latest, fully cooled down")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3, help="the largest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bfloat16", action="store_true", help="on a CPU that has it; a GPU always does")
    parser.add_argument("--start", type=Path, metavar="FOLD.bin", help="begin with the backbone and head of this one")
    parser.add_argument("--half", action="store_true", help="store the weights in half precision")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = True
    args.out.mkdir(parents=True, exist_ok=True)
    material = load_material(args.material)
    start = read_checkpoint(args.start) if args.start else None
    limits = args.steps, args.batch, args.rate, args.seconds
    bfloat16 = args.bfloat16 or args.device == "cuda"
    plan = TrainingPlan(args.experiment, args.width, args.seed, *limits, bfloat16, start.sha256 if start else "")
    training = Training(plan, material, torch.device(args.device))
    if start:
        training.begin_with(start)
    train(training, args.out / "resume.pt")
    finish(training, material, args.out, args.half)


if __name__ == "__main__":
    main()
