"""The four experiments, told apart by their tensors; how whole checkpoints are recognised is in test_checkpoint."""

from __future__ import annotations

from pathlib import PurePath

import pytest

from edgebird.errors import CheckpointError
from edgebird.export.families.folds.experiments import EXPERIMENTS, recognise

MEL, PCEN = "logmelspec_extractor.0.mel_scale.fb", "pcen.f2m.fb"


@pytest.mark.parametrize(
    ("key", "shape", "path", "name"),
    [
        (MEL, (1025, 128), "fold_0_model.bin", "exp105"),
        (MEL, (1025, 128), "exp106_eca_nfnet_l0/fold_0_model.bin", "exp106"),
        (MEL, (1025, 128), "exp106/exp105_fold_0.bin", "exp105"),  # the file before its folder
        (MEL, (513, 64), "exp105/fold_0_model.bin", "exp108"),  # tensors before names
        (PCEN, (1025, 128), "exp108/fold_0_model.bin", "exp107"),
    ],
)
def test_tensors_come_before_names_and_the_file_before_its_folders(
    key: str, shape: tuple[int, ...], path: str, name: str
) -> None:
    """With another experiment's frontend a network hears nothing, and says so of no window."""
    assert recognise({key: shape, "head.weight": (264, 2304)}, PurePath(path)).name == name


def test_the_experiment_that_the_user_names_is_taken_if_it_fits() -> None:
    shapes = {MEL: (1025, 128)}
    assert recognise(shapes, PurePath("exp105/fold.bin"), "exp106").name == "exp106"
    with pytest.raises(CheckpointError, match=r"^fold\.bin: the tensors are those of exp105 or exp106, not of exp108$"):
        recognise(shapes, PurePath("fold.bin"), "exp108")
    with pytest.raises(CheckpointError, match="unknown experiment 'exp104': use one of exp105, exp106, exp107, exp108"):
        recognise(shapes, PurePath("fold.bin"), "exp104")


def test_another_network_is_told_with_what_was_found_and_wanted() -> None:
    shapes: dict[str, tuple[int, ...]] = {"melspec.fb": (201, 40), "head.weight": (10, 10)}
    with pytest.raises(CheckpointError) as caught:
        recognise(shapes, PurePath("other.bin"))
    told = str(caught.value)
    assert told.startswith("other.bin: not a fold of exp105, exp106, exp107, exp108: wanted a filter bank ")
    assert f"{MEL} [1025, 128] or {PCEN} [1025, 128] or {MEL} [513, 64], found melspec.fb [201, 40]" in told
    with pytest.raises(CheckpointError, match=r"found none$"):
        recognise({}, PurePath("other.bin"))


def test_an_experiment_names_the_bank_that_it_is_known_by() -> None:
    assert {name: (e.filter_key, e.bins) for name, e in EXPERIMENTS.items()} == {
        "exp105": (MEL, 1025),
        "exp106": (MEL, 1025),
        "exp107": (PCEN, 1025),
        "exp108": (MEL, 513),
    }
