"""Seeded look-alikes of the BirdCLEF 2023 fold checkpoints, in exactly their file format.

The weights are a function of experiment and seed, the same bits everywhere (raw PCG64 output). They are not trained:
they detect nothing. For seeds 105 to 108 of exp105 to exp108, data/golden_logits.npz holds what the original training
code gives on the golden audio (data/README.md); the head is centred with data/head_centre.npz, so that logits on
recordings are about -2 +- 2.5, like those of a trained network.

    python -m tests.seeded --experiment exp105 --out DIR     writes DIR/exp105_eca_nfnet_l0/fold_0_model.bin
"""

from __future__ import annotations

import argparse
import math
import pickle
import types
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgebird.export.checkpoint import Reading, read_checkpoints
from edgebird.export.families.folds.experiments import EXPERIMENTS, Experiment
from edgebird.export.families.folds.family import FOLDS
from edgebird.export.families.folds.load import Folds, load_folds
from edgebird.export.families.folds.network import Architecture, BlockShape, FoldModel
from edgebird.export.training.filters import mel_filters, pcen_filters

if TYPE_CHECKING:
    from onnx import ModelProto

    from edgebird.export.precisions.backbone import Fp32Graph

DATA = Path(__file__).parent / "data"
FOLD_NUMBER = {"exp105": 0, "exp106": 3, "exp107": 4, "exp108": 2}
SEED = {"exp105": 105, "exp106": 106, "exp107": 107, "exp108": 108}
CLASSES, FEATURES = 264, 2304
_DEPTHS, _OUTPUTS, _GROUP = (1, 2, 6, 3), (256, 512, 1536, 1536), 64

# Ranges of learned scalars, away from their initial values as training would move them, and of gains. Those of the
# first convolution are large because the image has a standard deviation of only 0.15.
_RANGES = {
    "pcen.s": (0.03, 0.06),
    "pcen.alpha": (0.9, 0.97),
    "pcen.delta": (1.4, 2.6),
    "pcen.r": (0.35, 0.6),
    "global_pool.p": (3.4, 4.6),
    "pcen.last_state": (0.0, 30.0),
    "backbone.0.conv1.gain": (4.2, 7.8),
}


def loaded(paths: Sequence[Path], experiment: str | None = None, db_floor: str = "window") -> Folds:
    """The original networks of checkpoints, as an export loads them."""
    assert FOLDS.landmark
    reading = Reading(FOLDS.leftovers, frozenset({FOLDS.landmark}))
    return load_folds(read_checkpoints(paths, reading), experiment, db_floor)


def fp32_graph(model: ModelProto, group: int = 1) -> Fp32Graph:
    """A graph of folds, as lower precisions are made of it."""
    from edgebird.export.precisions.backbone import Fp32Graph, backbone_nodes

    return Fp32Graph(model, backbone_nodes(model, FOLDS.block), group)


def full_architecture() -> Architecture:
    """The widths and depths of eca_nfnet_l0."""
    stages, inputs = [], 128
    for depth, outputs in zip(_DEPTHS, _OUTPUTS, strict=True):
        blocks = []
        for _ in range(depth):
            width = outputs // 4
            blocks.append(BlockShape(inputs, width, outputs, width // _GROUP, 5))
            inputs = outputs
        stages.append(tuple(blocks))
    return Architecture((16, 32, 64, 128), tuple(stages), FEATURES, CLASSES)


def narrow_architecture(classes: int = CLASSES) -> Architecture:
    """A network of the same family that is exported in a moment."""
    stages, inputs = [], 8
    for depth, outputs, groups in ((1, 16, 1), (2, 32, 2), (1, 32, 2), (1, 64, 2)):
        blocks = []
        for _ in range(depth):
            blocks.append(BlockShape(inputs, outputs // 4, outputs, groups, 5))
            inputs = outputs
        stages.append(tuple(blocks))
    return Architecture((4, 4, 8, 8), tuple(stages), 32, classes)


def _bits(count: int, seed: int, name: str) -> NDArray[np.uint64]:
    return np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(name.encode())])).random_raw(count)


def _uniform(shape: tuple[int, ...], seed: int, name: str, low: float, high: float) -> NDArray[np.float64]:
    return low + (high - low) * (_bits(math.prod(shape), seed, name) >> np.uint64(11)).reshape(shape) * 2.0**-53


def _normal(shape: tuple[int, ...], seed: int, name: str) -> NDArray[np.float64]:
    """Nearly N(0, 1): the sum of the four 16-bit words of each draw, exact in integers."""
    words = _bits(math.prod(shape), seed, name).view(np.uint16).reshape(-1, 4)
    return ((words.sum(axis=1, dtype=np.int64) - 131070) / math.sqrt((2.0**32 - 1) / 3)).reshape(shape)


def _value(experiment: Experiment, key: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """One tensor, all but the head."""
    name = f"{FOLD_NUMBER[experiment.name]}.{key}"  # the folds differ at equal seeds
    if key.endswith("window"):
        return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(experiment.n_fft) / experiment.n_fft)
    if key.endswith("mel_scale.fb"):
        return mel_filters(experiment)
    if key.endswith("f2m.fb"):
        return pcen_filters(experiment)
    if key in _RANGES or key.endswith("gain"):
        return _uniform(shape, seed, name, *_RANGES.get(key, (0.7, 1.3)))
    value = _normal(shape, seed, name)
    if len(shape) == 4:  # kernels: off-centre, and small enough for the eps of the standardisation to matter
        channel = (shape[0], 1, 1, 1)
        value = value + _uniform(channel, seed, name + ".mean", -0.5, 0.5)
        return value * _uniform(channel, seed, name + ".std", 0.004, 0.08)
    return value * (0.02 if key.endswith("bias") else 0.4)


def seeded_model(experiment_name: str, seed: int | None = None, architecture: Architecture | None = None) -> FoldModel:
    """A network with seeded weights. The full-size ones of the known seeds have a centred head; others a plain one."""
    experiment = EXPERIMENTS[experiment_name]
    seed = SEED[experiment_name] if seed is None else seed
    architecture = architecture or full_architecture()
    model = FoldModel(experiment, architecture).eval()
    state = model.state_dict()
    for key, empty in state.items():
        if not key.startswith("head"):
            state[key] = _float32(_value(experiment, key, tuple(empty.shape), seed))
    state["head.weight"], state["head.bias"] = _head(experiment_name, seed, architecture)
    model.load_state_dict(state)
    return model


def _head(experiment: str, seed: int, architecture: Architecture) -> tuple[Tensor, Tensor]:
    shape = architecture.classes, architecture.features
    direction = _normal(shape, seed, f"{experiment}.head.weight")
    target = -2.0 + 0.5 * _normal(shape[:1], seed, f"{experiment}.head.bias")
    with np.load(DATA / "head_centre.npz") as stored:
        name = f"{experiment}_{seed}"
        if shape != (CLASSES, FEATURES) or f"{name}_centre" not in stored:
            return _float32(direction / math.sqrt(shape[1])), _float32(target)
        centre, spread = stored[f"{name}_centre"], stored[f"{name}_spread"].item()
    weight = (2.5 / spread * direction).astype(np.float32)
    at_centre = [math.fsum(row) for row in weight.astype(np.float64) * centre]  # exact, whatever the BLAS
    return torch.from_numpy(weight), _float32(target - at_centre)


def _float32(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


class _Numpy1Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes NumPy's scalar constructor under its name of NumPy 1, the one in the original files."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if getattr(obj, "__module__", None) == "numpy._core.multiarray":
            self.write(pickle.GLOBAL + f"numpy.core.multiarray\n{name or obj.__name__}\n".encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)


def save_checkpoint(path: Path, model: FoldModel, optimizer: bool = False) -> Path:
    """Write a training checkpoint as the original code did: epoch, state_dict, best_loss (NumPy), optimizer."""
    groups = torch.optim.AdamW(model.parameters(), lr=2.5e-4, weight_decay=1e-6).state_dict()["param_groups"]
    moments = {}
    for index, parameter in enumerate(model.parameters() if optimizer else ()):
        zeros = torch.zeros_like(parameter)
        moments[index] = {"step": torch.tensor(1e5), "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
    content = {"epoch": 100, "state_dict": model.state_dict(), "best_loss": np.float64(0.9)}
    pickler: Any = types.ModuleType("numpy1_pickle")
    pickler.Pickler = _Numpy1Pickler
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content | {"optimizer": {"state": moments, "param_groups": groups}}, path, pickle_module=pickler)
    return path


class DictModel(torch.nn.Module):
    """The call of the published TorchScript files: a dict in, of which only `wave` is read; logits out."""

    def __init__(self, model: FoldModel) -> None:
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        self.run = [model]  # in a list: not a child, so the names stay those of the checkpoint

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        logits: Tensor = self.run[0](inputs["wave"])
        return logits


def save_torchscript(path: Path, model: FoldModel) -> Path:
    """Write a trace like the published *_jit_bs4.pt: dict(wave [4, 160000], three unread) -> logits [4, classes]."""
    classes = model.architecture.classes
    inputs = {
        "wave": torch.randn(4, 160_000, generator=torch.Generator().manual_seed(0)) * 0.01,
        "rating": torch.ones(4, 1),
        "loss_target": torch.ones(4, 1),
        "embedding": torch.zeros(4, 1, classes),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        torch.jit.trace(DictModel(model), (inputs,), check_trace=False, strict=False).save(str(path))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--experiment", choices=EXPERIMENTS, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--torchscript", action="store_true", help="the TorchScript twin as well")
    args = parser.parse_args()
    model = seeded_model(args.experiment)
    path = args.out / f"{args.experiment}_eca_nfnet_l0" / f"fold_{FOLD_NUMBER[args.experiment]}_model.bin"
    print(save_checkpoint(path, model, optimizer=True))
    if args.torchscript:
        print(save_torchscript(path.with_name(f"{path.stem}_jit_bs4.pt"), model))


if __name__ == "__main__":
    main()
