"""Families of networks: a second one needs its package and a line in the registry, for nothing else knows the first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird.bundle import GoldenData, open_bundle
from edgebird.card import Fold
from edgebird.errors import CheckpointError, ExportError, LabelError
from edgebird.types import Label
from edgebird.verification import verify
from tests.conftest import require

torch, onnx = require("torch"), require("onnx")

from torch import Tensor, nn  # noqa: E402

from edgebird.export.checkpoint import Checkpoint  # noqa: E402
from edgebird.export.exporter import ExportRequest, export_bundle  # noqa: E402
from edgebird.export.families import registry  # noqa: E402
from edgebird.export.families.family import Family  # noqa: E402
from edgebird.export.families.folds.family import FOLDS  # noqa: E402

RATE, WINDOW, CLASSES, ROW = 16_000, 12_800, 5, 128


class Loudness(nn.Module):
    """Audio [B, 12800] -> image [B, 1, 100, 128]."""

    def forward(self, audio: Tensor) -> Tensor:
        image: Tensor = torch.log1p(audio.abs() * 100.0).reshape(-1, 1, WINDOW // ROW, ROW)
        return image


class Mean(nn.Module):
    """[B, C, h, w] -> [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3))


class Fold8(nn.Module):
    """Image -> scores [B, 5], with layers of names that no other family has."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv2d(1, 8, 3, 2, 1)
        self.act = nn.SiLU()
        self.trunk = nn.Conv2d(8, 16, 3, 2, 1)
        self.pool = Mean()
        self.head = nn.Sequential(nn.Linear(16, CLASSES), nn.Sigmoid())

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.head(self.pool(self.trunk(self.act(self.entry(image)))))
        return scores


class Toy(nn.Module):
    """The network, trained and frozen alike."""

    def __init__(self) -> None:
        super().__init__()
        self.frontend = nn.ModuleList([Loudness()])
        self.fold = nn.ModuleList([Fold8()])

    def forward(self, audio: Tensor) -> Tensor:
        scores: Tensor = self.fold[0](self.frontend[0](audio))
        return scores


@dataclass(frozen=True)
class ToyOriginals:
    """One network, as `Originals` wants it."""

    network: Toy
    sources: tuple[Fold, ...]
    classes: int = CLASSES

    def record_golden(self) -> GoldenData:
        random = np.random.default_rng(7)
        audio = random.integers(-3000, 3000, (3, WINDOW), dtype=np.int16)
        with torch.inference_mode():
            scores = self.network.double()(torch.from_numpy(audio).double() / 32768.0).numpy()
        self.network.float()
        return GoldenData(audio, scores, ("loud", "louder", "loudest"))

    def freeze(self) -> nn.Module:
        return self.network


def recognise(checkpoint: Checkpoint, variant: str | None) -> str:
    if "fold.0.trunk.weight" not in checkpoint.tensors:
        raise CheckpointError(f"{checkpoint.path}: not a toy: it has no trunk")
    return variant or "toy1"


def load(checkpoints: Sequence[Checkpoint], variant: str | None, _db_floor: str) -> ToyOriginals:
    (checkpoint,) = checkpoints
    network = Toy().eval()
    network.load_state_dict(checkpoint.tensors)
    source = Fold(checkpoint.path.name, checkpoint.sha256, recognise(checkpoint, variant))
    return ToyOriginals(network, (source,))


TOY = Family(
    name="toys",
    sample_rate=RATE,
    window_samples=WINDOW,
    block=re.compile(r"(?:entry|act|trunk)\b"),
    leftovers=frozenset({"counter"}),
    recognise=recognise,
    load=load,
    labels=lambda: tuple(Label(f"toy{i}", f"Ludus {i}", f"Toy {i}") for i in range(CLASSES)),
)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of the second family, which is registered."""
    monkeypatch.setattr(registry, "FAMILIES", (FOLDS, TOY))
    torch.manual_seed(3)
    path = tmp_path / "toy.pt"
    torch.save(Toy().state_dict() | {"counter": torch.zeros(3)}, path)
    return path


def test_a_second_family_is_exported_proven_and_verified(checkpoint: Path, tmp_path: Path) -> None:
    """Of another sample rate, window, class count, audio and layers, in every precision."""
    told: list[str] = []
    request = ExportRequest((checkpoint,), tmp_path / "bundle", precisions=("fp16", "int8"))
    bundle = export_bundle(request, told.append)
    card = open_bundle(bundle.path).card
    assert (card.sample_rate, card.window_samples, len(card.labels)) == (RATE, WINDOW, CLASSES)
    assert (card.input.shape, card.output.shape) == (("batch", WINDOW), ("batch", CLASSES))
    assert [(fold.file, fold.experiment) for fold in card.folds] == [("toy.pt", "toy1")]
    assert [label.code for label in card.labels] == [f"toy{i}" for i in range(CLASSES)]
    assert card.images == ("frontend/Reshape",)
    assert card.maps == ("trunk",)
    assert {result.precision: result.passed for result in verify(bundle, "ort-cpu")} == {
        "fp32": True, "fp16": True, "int8": True
    }  # fmt: skip
    assert card.precisions["int8"].costs.keys() | card.precisions["int8"].kept.keys() == {"entry", "trunk"}
    metadata = {entry.key: entry.value for entry in onnx.load(bundle.model()).metadata_props}
    assert (metadata["sample_rate"], metadata["window_samples"]) == (str(RATE), str(WINDOW))
    assert any(line == "read      toy1 toy.pt" for line in told)


def test_labels_of_the_family_are_refused_by_its_name(checkpoint: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("code,scientific_name,common_name\na,A a,A\n")
    with pytest.raises(LabelError, match=r"labels\.csv: 1 labels, but the folds have 5 classes"):
        export_bundle(ExportRequest((checkpoint,), tmp_path / "bundle", labels))


def test_a_checkpoint_of_no_family_is_told_what_each_wanted(checkpoint: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.pt"
    torch.save({"weight": torch.zeros(2)}, stranger)
    with pytest.raises(CheckpointError, match=r"not a fold of exp105, .*; .*not a toy: it has no trunk"):
        export_bundle(ExportRequest((stranger,), tmp_path / "bundle"))


def test_a_backbone_that_int8_cannot_measure_is_told(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tanh(_self: Any, x: Tensor) -> Tensor:
        return torch.tanh(x)

    monkeypatch.setattr(nn.SiLU, "forward", tanh)
    with pytest.raises(ExportError, match="act/Tanh: a backbone with Tanh cannot be measured"):
        export_bundle(ExportRequest((checkpoint,), tmp_path / "bundle", precisions=("int8",)))
