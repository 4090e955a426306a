"""From a checkpoint to the original network, every tensor accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from edgebird.bundle import GoldenData
from edgebird.card import Fold
from edgebird.errors import CheckpointError
from edgebird.export.checkpoint import Checkpoint
from edgebird.export.families.folds.experiments import recognise
from edgebird.export.families.folds.freeze import FrozenNetwork, freeze
from edgebird.export.families.folds.golden import record_golden
from edgebird.export.families.folds.network import FoldModel, read_architecture

UNREAD = "pcen.last_state"  # a left-over of training, of any batch size


@dataclass(frozen=True, slots=True, eq=False)
class Folds:
    """Original networks with their weights, in eval mode, and where they come from. db_floor: as in the card."""

    models: tuple[FoldModel, ...]
    sources: tuple[Fold, ...]
    db_floor: str

    @property
    def classes(self) -> int:
        """How many labels each scores."""
        return self.models[0].architecture.classes

    def record_golden(self) -> GoldenData:
        """See `golden.record_golden`."""
        return record_golden(self.models)

    def freeze(self) -> FrozenNetwork:
        """See `freeze.freeze`."""
        return freeze(self.models)


def load_folds(checkpoints: Sequence[Checkpoint], experiment: str | None, db_floor: str) -> Folds:
    """The original network of each checkpoint; `experiment` overrides what the tensors say.

    Raises CheckpointError, also if the folds differ in their classes.
    """
    loaded = [_load(checkpoint, experiment, db_floor == "window") for checkpoint in checkpoints]
    classes = {model.architecture.classes for model, _source in loaded}
    if len(classes) > 1:
        raise CheckpointError(f"the folds have different numbers of classes: {sorted(classes)}")
    return Folds(tuple(model for model, _ in loaded), tuple(source for _, source in loaded), db_floor)


def _load(checkpoint: Checkpoint, override: str | None, per_window: bool) -> tuple[FoldModel, Fold]:
    experiment = recognise(checkpoint.shapes, checkpoint.path.absolute(), override)
    try:
        architecture = read_architecture(checkpoint.shapes)
        model = FoldModel(experiment, architecture, per_window).eval()
    except KeyError as error:
        missing = _listed("missing", error.args)
        raise CheckpointError(f"{checkpoint.path}: of its tensors {missing}{checkpoint.hint}") from error
    except (IndexError, ValueError, ZeroDivisionError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: its tensors are not those of an ECA-NFNet: {error}{checkpoint.hint}"
        ) from error
    _check(checkpoint, model)
    unread = {name: tensor for name, tensor in model.state_dict().items() if name == UNREAD}
    model.load_state_dict(checkpoint.tensors | unread, strict=True)
    return model, Fold(checkpoint.title, checkpoint.sha256, experiment.name)


def _check(checkpoint: Checkpoint, model: FoldModel) -> None:
    """Raise CheckpointError saying which tensors are missing, unknown, misshapen or not finite, and how many."""
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name != UNREAD}
    found = checkpoint.shapes
    here = [name for name in wanted if name in found]
    faults = {
        "missing": [name for name in wanted if name not in found],
        "not of this network": [name for name in found if name not in wanted],
        "misshapen": [f"{n} {list(found[n])} instead of {list(wanted[n])}" for n in here if found[n] != wanted[n]],
        "not finite": [name for name in here if not bool(torch.isfinite(checkpoint.tensors[name]).all())],
    }
    told = [_listed(kind, names) for kind, names in faults.items() if names]
    if told:
        raise CheckpointError(f"{checkpoint.path}: of its {len(wanted)} tensors {'; '.join(told)}{checkpoint.hint}")


def _listed(kind: str, names: Sequence[str]) -> str:
    return f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
