"""Exporting as a whole: a bundle appears complete and true to its folds, or not at all."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird.bundle import Bundle, new_bundle, open_bundle
from edgebird.errors import CheckpointError, EdgebirdError, LabelError, OutputError, ParityError
from edgebird.files import file_sha256
from edgebird.parity import TOLERANCES, compare
from edgebird.verification import verify
from tests.conftest import require

torch, onnx = require("torch"), require("onnx")

from edgebird.export import exporter  # noqa: E402
from edgebird.export.exporter import ExportRequest, export_bundle  # noqa: E402
from edgebird.export.families.folds import load  # noqa: E402
from edgebird.export.families.folds.golden import record_golden  # noqa: E402
from edgebird.export.families.folds.labels import birdclef2023  # noqa: E402
from tests.seeded import narrow_architecture, save_checkpoint, seeded_model  # noqa: E402

CODES = ("zzz", "abc", "mmm")  # the order is that of the outputs, not of the alphabet


def write_labels(path: Path, codes: tuple[str, ...] = CODES, columns: str = "code,scientific_name,common_name") -> Path:
    path.write_text("".join(f"{line}\n" for line in (columns, *(f'{c},Avis {c},"Bird, {c}"' for c in codes))))
    return path


def few_classes(experiment: str = "exp108") -> Any:
    return seeded_model(experiment, architecture=narrow_architecture(len(CODES)))


@pytest.fixture(scope="module")
def fold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fold of three classes."""
    return save_checkpoint(tmp_path_factory.mktemp("few") / "exp108_eca_nfnet_l0" / "fold_2_model.bin", few_classes())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    """Instead of the network's own steps, those of a bundle that is there: for what surrounds them."""
    golden, model = bundle.golden(), onnx.load(bundle.model())
    parity = compare(golden.scores, golden.scores.astype(np.float32), TOLERANCES["fp32"])
    monkeypatch.setattr(load, "record_golden", lambda *_: golden)
    monkeypatch.setattr(exporter, "build_graph", lambda *_: (model, parity))


def no_network(*_arguments: object) -> Any:
    raise AssertionError("this error should come before any work")


# ------------------------------------------------------------------------------------------------- what a bundle says
def test_a_bundle_says_what_it_is_made_of_and_is_proven(fold: Path, tmp_path: Path) -> None:
    old = tmp_path / "birds"
    with new_bundle(old) as folder:
        (folder / "card.json").write_text(
            json.dumps({"format": 0, "precisions": {}, "labels": []})
        )  # of an older edgebird
        (folder / "model.int8.onnx").touch()
    lines: list[str] = []
    labels = write_labels(tmp_path / "labels.csv")
    bundle = export_bundle(ExportRequest((fold,), old, labels, force=True, db_floor="batch"), lines.append)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["birds", "labels.csv"]
    assert sorted(path.name for path in old.iterdir()) == ["card.json", "golden.npz", "model.fp32.onnx"]
    assert [line.split()[0] for line in lines] == ["read", "recorded", "freeze", "export", "simplify", "wrote"]
    card = open_bundle(old).card
    assert [(f.file, f.sha256, f.experiment) for f in card.folds] == [("fold_2_model.bin", file_sha256(fold), "exp108")]
    assert [(label.code, label.common_name) for label in card.labels] == [(code, f"Bird, {code}") for code in CODES]
    assert (card.sample_rate, card.window_samples, card.activation, card.db_floor) == (32000, 160000, "none", "batch")
    assert (card.input.name, card.input.shape) == ("audio", ("batch", 160_000))
    assert (card.output.name, card.output.shape) == ("scores", ("batch", 3))
    precision = card.precisions["fp32"]
    assert precision.opset <= 20
    assert precision.parity["windows"] == 12
    assert precision.parity["max_abs"] <= 3e-6
    outputs = {output for node in onnx.load(bundle.model()).graph.node for output in node.output}
    assert card.images
    assert set(card.images) <= outputs
    assert [result.passed for result in verify(bundle, "ort-cpu")] == [True]


@pytest.mark.parametrize("db_floor", ["window", "batch"])
def test_the_golden_scores_are_the_original_networks_in_float64(db_floor: str) -> None:
    models = [few_classes("exp108"), few_classes("exp105")]
    for model in models:
        model.frontend.per_window = db_floor == "window"
    golden, untouched = record_golden(models), deepcopy(models)
    group = slice(4, 8) if db_floor == "batch" else slice(5, 6)
    audio = torch.from_numpy(golden.windows()[group]).double()
    with torch.inference_mode():
        wanted = sum(torch.sigmoid(model.double()(audio)) for model in models).numpy() / 2
    assert golden.scores.dtype == np.float64
    np.testing.assert_allclose(golden.scores[group], wanted, rtol=0, atol=1e-12)
    assert golden.scores.shape == (len(golden.names), len(CODES))
    assert next(untouched[0].parameters()).dtype == torch.float32


@pytest.mark.parametrize("windows", [1, 12, 100, 101])
def test_windows_that_are_scored_twice_prove_neither_more_nor_less(windows: int) -> None:
    """An export scores them in one batch size, `verify` in two: a graph that passes the one must pass the other."""
    scores = np.random.default_rng(windows).random((windows, 3))
    parities = [compare(np.zeros((n * windows, 3)), np.tile(scores, (n, 1)), TOLERANCES["fp32"]) for n in (1, 2)]
    assert parities[0].p99 == parities[1].p99
    assert np.mean(scores <= parities[0].p99) >= 0.99


def test_an_average_of_the_weights_is_told_and_taken_on_request(
    narrow_folds: dict[str, Path], quick: None, tmp_path: Path
) -> None:
    state = torch.load(narrow_folds["exp105"], weights_only=False)["state_dict"]
    torch.save({"state_dict": state, "state_dict_ema": {**state}}, tmp_path / "fold.bin")
    for weights, file, told in (
        (None, "fold.bin", "fold.bin; it also holds state_dict_ema: --weights state_dict_ema takes that instead"),
        ("ema", "fold.bin (state_dict_ema)", "fold.bin (state_dict_ema)"),
    ):
        lines: list[str] = []
        request = ExportRequest((tmp_path / "fold.bin",), tmp_path / f"{weights}", experiment="exp105", weights=weights)
        bundle = export_bundle(request, lines.append)
        assert [fold.file for fold in bundle.card.folds] == [file]
        assert lines[0].startswith(f"read      exp105 {told}")


def test_the_labels_that_come_with_edgebird_are_the_264_of_the_competition() -> None:
    labels = birdclef2023()
    assert (len(labels), labels[0].code, labels[-1].code) == (264, "abethr1", "yewgre1")
    assert all(label.code and label.scientific_name and label.common_name for label in labels)


# ------------------------------------------------------------------------------------------------------------- labels
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "the labels of BirdCLEF 2023: 264 labels, but the folds have 3 classes: give --labels FILE.csv"),
        (lambda path: write_labels(path, CODES[:2]), r"labels.csv: 2 labels, but the folds have 3 classes"),
        (lambda path: write_labels(path, ("a", "b", "a")), r"labels.csv: 1 codes come more than once: a"),
        (lambda path: write_labels(path, ("a", " ", "b")), r"labels.csv: a row without a code"),
        (lambda path: write_labels(path, columns="code,name"), r"no column scientific_name, common_name"),
        (lambda path: path.with_name("none.csv"), r"none.csv: cannot be read: No such file"),
        (lambda path: [path.write_bytes(b"\xff\xfe\x00"), path][1], r"labels.csv: not a UTF-8 CSV file"),
        (lambda path: [path.write_bytes(b""), path][1], r"labels.csv: no column code"),
    ],
)
def test_labels_that_do_not_fit_are_refused_before_the_work(
    labels: Callable[[Path], Path] | None,
    message: str,
    fold: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "record_golden", no_network)
    path = labels(tmp_path / "labels.csv") if labels else None
    with pytest.raises(LabelError, match=message):
        export_bundle(ExportRequest((fold,), tmp_path / "out", path))
    assert [p.name for p in tmp_path.iterdir() if p != path] == []


# ------------------------------------------------------------------------------------------------- the output folder
def document(folder: Path) -> Path:
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    return folder


def document_with_a_card_of_something_else(folder: Path) -> Path:
    (document(folder) / "card.json").write_text('{"name": "my project"}')
    return folder


def file(path: Path) -> Path:
    path.write_text("years of work")
    return path


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("make", [document, document_with_a_card_of_something_else, file])
def test_what_is_no_bundle_is_never_replaced(
    make: Callable[[Path], Path], force: bool, fold: Path, tmp_path: Path, quick: None
) -> None:
    out = make(tmp_path / "out")
    labels = write_labels(tmp_path / "labels.csv")
    with pytest.raises(OutputError, match="--force"):
        export_bundle(ExportRequest((fold,), out, labels, force=force))
    assert (out if out.is_file() else out / "thesis.txt").read_text() == "years of work"


def test_a_bundle_is_replaced_by_force_only_and_only_by_a_whole_one(
    bundle_copy: Path, narrow_folds: dict[str, Path], fold: Path, quick: None
) -> None:
    before = (bundle_copy / "card.json").read_bytes()
    fine = ExportRequest((narrow_folds["exp105"],), bundle_copy)
    with pytest.raises(OutputError, match="exists: use --force to replace it, or another --out"):
        export_bundle(fine)
    with pytest.raises(LabelError):
        export_bundle(ExportRequest((fold,), bundle_copy, force=True))
    with pytest.raises(CheckpointError):
        export_bundle(ExportRequest((bundle_copy / "none.bin",), bundle_copy, force=True))
    assert (bundle_copy / "card.json").read_bytes() == before
    (bundle_copy / "card.json").unlink()
    (bundle_copy / "golden.npz").unlink()
    (bundle_copy / "model.fp32.onnx").unlink()
    assert export_bundle(ExportRequest(fine.folds, bundle_copy, force=True)).path == bundle_copy  # empty by now
    assert [path.name for path in bundle_copy.parent.iterdir()] == [bundle_copy.name]


@pytest.mark.parametrize("exchanges", [True, False])
def test_the_old_bundle_is_still_there_when_the_new_one_cannot_take_its_place(
    exchanges: bool, bundle_copy: Path, narrow_folds: dict[str, Path], quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename = (bundle_copy / "card.json").read_bytes(), Path.rename

    def exchange(one: Path, other: Path) -> bool:
        if exchanges:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return False

    def fail(self: Path, target: Path) -> Path:
        if Path(target) == bundle_copy and (self / "card.json").read_bytes() != before:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(exporter, "__version__", "other")  # so that the cards differ
    monkeypatch.setattr(Path, "rename", fail)
    monkeypatch.setattr("edgebird.bundle.exchange", exchange)
    with pytest.raises(OutputError, match="Input/output error"):
        export_bundle(ExportRequest((narrow_folds["exp105"],), bundle_copy, force=True))
    assert (bundle_copy / "card.json").read_bytes() == before
    assert [path.name for path in bundle_copy.parent.iterdir()] == [bundle_copy.name]


def test_a_link_to_a_bundle_is_replaced_without_leftovers(
    bundle_copy: Path, narrow_folds: dict[str, Path], quick: None
) -> None:
    link = bundle_copy.parent / "current"
    link.symlink_to(bundle_copy)
    export_bundle(ExportRequest((narrow_folds["exp105"],), link, force=True))
    assert open_bundle(link)
    assert sorted(path.name for path in link.parent.iterdir()) == [bundle_copy.name, "current"]


# --------------------------------------------------------------------------------------------------- when it goes wrong
def disk_full(*_arguments: object, **_options: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*_arguments: object, **_options: object) -> Any:
    raise KeyboardInterrupt


def full_from(name: str) -> Callable[[Path, bytes], int]:
    write = Path.write_bytes

    def write_bytes(self: Path, data: bytes) -> int:
        if self.name == name:
            write(self, data[:100])
            disk_full()
        return write(self, data)

    return write_bytes


@pytest.mark.parametrize(
    ("where", "failure", "error", "message"),
    [
        ("pathlib.Path.write_bytes", full_from("model.fp32.onnx"), OutputError, "cannot write .*out: No space left"),
        ("pathlib.Path.write_bytes", full_from("card.json"), OutputError, "cannot write .*out: No space left"),
        ("numpy.savez_compressed", disk_full, OutputError, "cannot write .*out: No space left"),
        ("edgebird.bundle.temporary_beside", disk_full, OutputError, "cannot write .*out: No space left"),
        ("edgebird.export.exporter.build_graph", interrupted, KeyboardInterrupt, None),
    ],
    ids=["graph", "card", "golden data", "folder", "ctrl-c"],
)
def test_a_full_disk_or_a_change_of_mind_leaves_nothing_half_written(
    where: str,
    failure: Any,
    error: type[BaseException],
    message: str | None,
    narrow_folds: dict[str, Path],
    tmp_path: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(where, failure)
    with pytest.raises(error, match=message):
        export_bundle(ExportRequest((narrow_folds["exp105"],), tmp_path / "out"))
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())


def test_weights_that_overflow_are_told_and_not_exported(tmp_path: Path) -> None:
    """Finite weights may still be of a training that went astray."""
    model = few_classes()
    with torch.no_grad():
        model.backbone[2].gain *= 1e30
    path = save_checkpoint(tmp_path / "folds" / "fold.bin", model)
    with pytest.raises(EdgebirdError) as caught:
        export_bundle(ExportRequest((path,), tmp_path / "out", write_labels(tmp_path / "labels.csv")))
    assert isinstance(caught.value, ParityError) or "not finite" in str(caught.value)
    assert not (tmp_path / "out").exists()
