"""Bundles: damage is found before anything is scored, and models made elsewhere become bundles by writing a card."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import edgebird
from edgebird.bundle import Bundle, new_bundle, open_bundle, seal
from edgebird.card import Card, Precision, Tensor, read_card
from edgebird.errors import BundleError, OutputError
from tests.foreign import LABELS, MODEL, RATE, WINDOW_S, scene, tone_bundle, tone_card, tone_model


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tone_bundle(tmp_path_factory.mktemp("bundle") / "tones").path


@pytest.fixture
def folder(intact: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(intact, tmp_path / "tones"))


def flipped(data: bytes, position: int) -> bytes:
    """The same with one bit changed, another one at each position."""
    return data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :]


def test_no_file_of_an_exported_bundle_is_without_a_hash(bundle: Bundle) -> None:
    """A file that the card does not know could be damaged unnoticed."""
    assert {path.name for path in bundle.path.iterdir()} == {"card.json", *bundle.card.hashes()}


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", [MODEL, "golden.npz"])
def test_a_flipped_bit_in_a_file_is_found(folder: Path, name: str, place: float) -> None:
    """A memory card going bad must not change what is heard."""
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(flipped(data, int(place * (len(data) - 1))))
    with pytest.raises(BundleError, match=rf"{name}: damaged"):
        open_bundle(folder)


def test_a_flipped_bit_anywhere_in_the_card_is_found(folder: Path) -> None:
    """Every byte in turn: white space, names, numbers, hashes, and the digest that protects them."""
    card = folder / "card.json"
    data = card.read_bytes()
    with card.open("r+b", buffering=0) as file:  # in place: making a file anew takes longer than all else here
        for position in range(len(data)):
            file.seek(0)
            file.write(flipped(data, position))
            with pytest.raises(BundleError, match=r"card\.json"):
                open_bundle(folder)
        file.seek(0)
        file.write(data)
    open_bundle(folder)


def test_a_card_that_was_cut_short_or_grew_is_found(folder: Path) -> None:
    card = folder / "card.json"
    data = card.read_bytes()
    for damaged in (b"", data[:-1], data[: len(data) // 2], data + b"\n", data + data):
        card.write_bytes(damaged)
        with pytest.raises(BundleError, match=r"card\.json"):
            open_bundle(folder)


@pytest.mark.parametrize("name", ["card.json", MODEL, "golden.npz"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        open_bundle(folder)


def test_what_is_no_bundle_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, message in (("none", "no such bundle"), ("file", "a bundle is a folder"), (".", "it has no card.json")):
        with pytest.raises(BundleError, match=message):
            open_bundle(tmp_path / path)


def with_card(folder: Path, change: Callable[[Card], Card]) -> Path:
    """Change the card and renew its digest, as somebody with bad intentions, or another version, could."""
    (folder / "card.json").write_bytes(change(read_card(folder / "card.json")).to_bytes())
    return folder


def test_a_card_of_another_format_is_refused_not_guessed_at(folder: Path) -> None:
    with pytest.raises(BundleError, match="card format 2, this edgebird reads 1"):
        open_bundle(with_card(folder, lambda card: replace(card, format=2)))


@pytest.mark.parametrize("name", ["../outside.onnx", "/etc/hostname", "sub/model.onnx", "..", ""])
def test_a_card_cannot_point_outside_its_folder(folder: Path, name: str) -> None:
    """A bundle from the internet must not make edgebird read, and tell about, other files."""
    shutil.copy(folder / MODEL, folder.parent / "outside.onnx")
    with pytest.raises(BundleError):
        open_bundle(with_card(folder, lambda card: replace(card, precisions={"fp32": Precision(name, "", 17)})))
    with pytest.raises(BundleError):
        seal(folder)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sample_rate": 0}, "sample_rate"),
        ({"sample_rate": "8000"}, "sample_rate"),
        ({"window_samples": 5}, "input shape"),
        ({"output": {"name": "birds", "shape": ["batch", 264]}}, "3 labels"),
        ({"activation": "relu"}, "activation"),
        ({"db_floor": "file"}, "db_floor"),
        ({"labels": [asdict(LABELS[0])] * 3}, "tonlow"),
        ({"labels": [{"code": "tonlow"}] * 3}, "scientific_name"),
        ({"labels": [asdict(LABELS[0]) | {"code": ["a"]}] * 3}, "card"),
        ({"precisions": {}}, "precisions"),
        ({"precisions": {"fp64": asdict(Precision(MODEL, "", 17))}}, "fp64"),
        ({"precisions": {"fp32": asdict(Precision(MODEL, "", 17)) | {"file": None}}}, "card"),
        ({"input": None}, "card"),
        ({"colour": "green"}, "colour"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_mistakes_in_a_hand_written_card_are_told(folder: Path, change: dict[str, Any], problem: str) -> None:
    """Never a traceback: the author of the card is told which entry is wrong."""
    card = folder / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(BundleError, match=problem):
        seal(folder)


def _npz(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _without_scores(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("audio.npy", b"")


_AUDIO, _NAMES = np.zeros((2, WINDOW_S * RATE), np.int16), np.array(["a", "b"])


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(_npz(audio=_AUDIO, scores=np.zeros((2, 4)), names=_NAMES), id="of more classes"),
        pytest.param(_npz(audio=_AUDIO[:, :-1], scores=np.zeros((2, 3)), names=_NAMES), id="of shorter windows"),
        pytest.param(_npz(audio=_AUDIO, scores=np.zeros((3, 3)), names=_NAMES), id="of more windows"),
        pytest.param(_npz(audio=_AUDIO, names=_NAMES), id="without scores"),
        pytest.param(_npz(audio=_AUDIO.astype(object), scores=np.zeros((2, 3)), names=_NAMES), id="pickled"),
        pytest.param(_without_scores, id="an archive of nothing"),
        pytest.param(_cut, id="cut off"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
    ],
)
def test_golden_data_that_does_not_fit_is_an_error_that_names_it(folder: Path, spoil: Callable[[Path], None]) -> None:
    """Sealed like this by its author: hashes fit, and still nothing can be proven with it."""
    spoil(folder / "golden.npz")
    bundle = seal(folder)
    with pytest.raises(BundleError, match=r"golden\.npz"):
        bundle.golden()


def test_a_bundle_without_golden_data_proves_nothing_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no golden data"):
        tone_bundle(tmp_path / "bundle", golden=None).golden()


def test_a_foreign_model_needs_a_card_and_no_code(tmp_path: Path) -> None:
    """Logits instead of scores, another rate and window, batches of two only: a BirdNET-like model."""
    rate = 48000
    bundle = tone_bundle(tmp_path / "foreign", rate, batch=2, activation="sigmoid", golden=None)
    assert open_bundle(bundle.path) == bundle  # what `seal` wrote is a card like any other
    soundfile.write(tmp_path / "x.wav", scene(14, [(1, 0.5, 5, 10)], rate), rate, subtype="FLOAT")
    runtime = edgebird.open_runtime(bundle, "ort-cpu")
    (event,) = edgebird.detect(tmp_path / "x.wav", runtime, hop_s=5, threshold=0.9)
    assert (event["code"], event["start_s"], event["end_s"]) == ("tonmid", 5.0, 10.0)
    assert event["score"] == pytest.approx(1 / (1 + np.exp(-20 * (0.5 - 0.3))), abs=1e-5)


def test_a_window_of_another_length_is_data_too(tmp_path: Path) -> None:
    """144000 samples at 48 kHz are 3 s; the default hop still fits."""
    folder, window = tmp_path / "birdnet", 144_000
    folder.mkdir()
    (folder / MODEL).write_bytes(tone_model(48000, window, 2, logits=True, normalise=False))
    card = replace(
        tone_card(48000, 2, activation="sigmoid", golden=None),
        window_samples=window,
        input=Tensor("sound", (2, window)),
    )
    (folder / "card.json").write_text(json.dumps(asdict(card)))
    soundfile.write(tmp_path / "x.wav", scene(9, [(2, 0.8, 2.5, 5.5)], 44100), 44100, subtype="FLOAT")
    events = list(edgebird.detect(tmp_path / "x.wav", edgebird.open_runtime(seal(folder)), threshold=0.99))
    assert [(event["code"], event["start_s"], event["end_s"]) for event in events] == [("tonhig", 2.5, 5.5)]


@pytest.mark.parametrize("trouble", [BundleError, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [False, True])
def test_a_new_bundle_that_fails_leaves_things_as_they_were(
    folder: Path, existing: bool, trouble: type[BaseException]
) -> None:
    """Half a bundle would be taken for one; the old one is worth more than none."""
    target = folder if existing else folder.parent / "new"
    before = sorted(folder.parent.rglob("*"))

    def make() -> None:
        with new_bundle(target, force=True) as made:
            (made / "model.fp32.onnx").write_bytes(b"half")
            raise trouble

    with pytest.raises(trouble):
        make()
    assert sorted(folder.parent.rglob("*")) == before
    open_bundle(folder)


def test_a_full_disk_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*new: No space left"), new_bundle(tmp_path / "new"):
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_new_bundle_takes_its_place_at_once(folder: Path) -> None:
    """With --force the old one goes, and nothing else stays behind; others may read it."""
    with new_bundle(folder, force=True) as made:
        open_bundle(folder)  # still the old one
        (made / "fresh").touch()
    assert [path.name for path in folder.parent.iterdir()] == ["tones"]
    assert [path.name for path in folder.iterdir()] == ["fresh"]
    assert folder.stat().st_mode & 0o777 == 0o755


def test_only_bundles_are_ever_replaced(folder: Path, tmp_path: Path) -> None:
    """`--out ~ --force` must not delete a home."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    with pytest.raises(OutputError, match="--force"), new_bundle(folder):
        pass
    with pytest.raises(OutputError, match="not a bundle"), new_bundle(tmp_path / "home", force=True):
        pass
    with pytest.raises(OutputError, match="not a bundle"), new_bundle(tmp_path / "home" / "thesis.tex", force=True):
        pass
    assert (tmp_path / "home" / "thesis.tex").exists()


def test_golden_data_of_before_they_were_compressed_are_read(bundle_copy: Path) -> None:
    """Bundles on devices are years old."""
    golden = open_bundle(bundle_copy).golden()
    plain = {"audio": golden.audio, "scores": golden.scores, "names": np.array(golden.names)}
    np.savez_compressed(bundle_copy / "golden.npz", **plain)
    found = edgebird.seal(bundle_copy).golden()
    np.testing.assert_array_equal(found.audio, golden.audio)
    assert (found.names, found.recordings) == (golden.names, ())
    assert golden.recordings


def test_what_the_export_refused_is_not_opened(bundle: Bundle) -> None:
    """bf16 of a fold may be beyond its tolerance: no command runs it, and each says why."""
    graph = replace(bundle.card.precisions["fp32"], refuses={"bf16": "scores differ by up to 0.2"})
    refusing = Bundle(bundle.path, replace(bundle.card, precisions={"fp32": graph}))
    assert bundle.graph_of("bf16") == bundle.card.precisions["fp32"]
    assert refusing.graph_of("fp32") == graph
    with pytest.raises(BundleError, match=r"bf16 was refused when it was exported: scores differ by up to 0\.2"):
        refusing.graph_of("bf16")
