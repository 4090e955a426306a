"""The card of a bundle, by itself: what it says of batches and files, and that it comes back as it was written.

What is wrong with a card of a bundle is told in test_bundle.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edgebird.card import Fold, Golden, Precision, floor_group, parse_card, read_card
from edgebird.errors import BundleError
from tests.foreign import MODEL, tone_card

FULL = replace(
    tone_card(8000, "batch", activation="sigmoid", images=("image",), maps=("map",)),
    precisions={
        "fp32": Precision(MODEL, "a" * 64, 18),
        "int8": Precision(
            "model.int8.onnx", "b" * 64, 18, {"p99": 0.05, "max": 0.15}, {"max_abs": 0.01}, {"golden, quantized": {}},
            {"stem.conv1": "alone it moves scores"}, 0.8, {"final_conv": 1e-4}, {"TensorRT": {"x": "operator STFT"}}, 2,
            {"int8+bf16": "scores differ"},
        ),
    },
    folds=(Fold("fold_0_model.bin", "c" * 64, "exp105"),),
    golden=Golden("golden.npz", "d" * 64, 60, 9),
    edgebird="0.1.0",
    created="2026-01-01T00:00:00Z",
)  # fmt: skip


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """What is lost on the way is not there when a device asks for it."""
    (tmp_path / "card.json").write_bytes(FULL.to_bytes())
    assert read_card(tmp_path / "card.json") == FULL
    assert read_card(tmp_path / "card.json").to_bytes() == FULL.to_bytes()


def test_a_card_can_be_read_by_people() -> None:
    """Names in their own letters, one entry a line, the hundreds of labels last."""
    text = replace(FULL, edgebird="für Vögel").to_bytes().decode()
    assert "für Vögel" in text
    assert text.endswith("}\n")
    first, *_, last = json.loads(text)
    assert (first, last) == ("format", "labels")


def test_a_digest_within_a_card_is_not_taken_for_its_own(tmp_path: Path) -> None:
    """Two are one too many: which of them seals the card, nobody could say."""
    text = FULL.to_bytes().decode().replace('"edgebird": "0.1.0"', '"digest": "' + "e" * 64 + '"')
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(BundleError, match="damaged, or sealed by nobody: 2 digests"):
        read_card(tmp_path / "card.json")


@pytest.mark.parametrize(
    ("batch", "db_floor", "fixed", "batches", "sizes", "largest"),
    [
        ("batch", "window", None, (1,), (1, 4), (1, 4, 12)),
        ("batch", "batch", None, (1, 2, 3, 4), (4,), (4,)),
        (2, "window", 2, (1,), (1, 4), (1, 4, 12)),
    ],
    ids=["any batch", "a shared floor", "a fixed batch"],
)
def test_windows_are_scored_and_proven_in_batches_that_suit_the_model(
    batch: int | str, db_floor: str, fixed: int | None, batches: Any, sizes: Any, largest: Any
) -> None:
    """Windows that share a floor have other scores in other groups; an engine may be wrong at one size alone."""
    card = tone_card(8000, batch, db_floor=db_floor)
    assert card.fixed_batch == fixed
    assert card.batches == batches
    assert card.proof_sizes() == sizes
    assert card.proof_sizes(12) == largest
    assert floor_group(db_floor) == max(batches)


@pytest.mark.parametrize(("largest", "sizes"), [(1, (1,)), (2, (1, 2)), (4, (1, 4)), (5, (1, 4, 5))])
def test_an_engine_is_not_proven_with_more_windows_than_it_takes(largest: int, sizes: tuple[int, ...]) -> None:
    assert tone_card(8000, "batch").proof_sizes(largest) == sizes


def test_every_file_of_the_bundle_is_known_by_its_hash() -> None:
    """One that is not could be damaged unnoticed."""
    assert FULL.hashes() == {MODEL: "a" * 64, "model.int8.onnx": "b" * 64, "golden.npz": "d" * 64}
    assert replace(FULL, golden=None).hashes().keys() == {MODEL, "model.int8.onnx"}


def test_a_card_of_before_engines_were_told_apart_has_the_jetsons_lint() -> None:
    """Bundles that were made then still open, and say what they said."""
    content = asdict(FULL)
    content["precisions"]["int8"]["lint"] = {"stem.conv1": "operator STFT"}
    card = parse_card(json.dumps(content).encode(), Path("card.json"))
    assert card.precisions["int8"].lint == {"TensorRT 10.3 (JetPack 6)": {"stem.conv1": "operator STFT"}}
    assert card.precisions["fp32"].lint == {}


def test_a_card_by_hand_needs_only_what_cannot_be_known() -> None:
    wanted = ("labels", "sample_rate", "window_samples", "input", "output", "precisions")
    content = {key: value for key, value in asdict(tone_card(8000, "batch")).items() if key in wanted}
    content["precisions"] = {"fp32": {"file": MODEL, "sha256": "", "opset": 17}}
    card = parse_card(json.dumps(content | {"format": 1}).encode(), Path("card.json"))
    assert card == replace(tone_card(8000, "batch"), golden=None)
    for key in wanted:
        less = {name: value for name, value in content.items() if name != key} | {"format": 1}
        with pytest.raises(BundleError, match=rf"^card\.json: not a card: .*{key}"):
            parse_card(json.dumps(less).encode(), Path("card.json"))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b'{"format": 1'])
def test_what_is_no_card_is_one_line(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"^card\.json: not a card: ") as caught:
        parse_card(data, Path("card.json"))
    assert "\n" not in str(caught.value)


def test_a_card_that_cannot_be_read_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "card.json").mkdir()
    with pytest.raises(BundleError, match=r"card\.json: cannot be read: Is a directory"):
        read_card(tmp_path / "card.json")


def test_a_card_of_before_windows_were_counted_opens() -> None:
    """Bundles on devices are years old."""
    content = asdict(FULL)
    content["golden"] = {"file": "golden.npz", "sha256": "d" * 64}
    del content["precisions"]["int8"]["refuses"]
    card = parse_card(json.dumps(content).encode(), Path("card.json"))
    assert card.golden == Golden("golden.npz", "d" * 64)
    assert card.precisions["int8"].refuses == {}
