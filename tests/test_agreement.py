"""Do detections of a lower precision agree with those in FP32: counted on recordings, from audio to detections."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer.testing

from edgebird import agreement
from edgebird.agreement import THRESHOLDS, agreements, matches
from edgebird.bundle import Bundle
from edgebird.card import Card
from edgebird.cli.app import make_app
from edgebird.errors import AudioError, RuntimeUnavailableError
from edgebird.runtimes import RuntimeOptions
from edgebird.types import Detection, FloatArray
from tests.foreign import tone_bundle


def heard(label: int, start: int, end: int) -> Detection:
    return Detection(label, 0.5, start, end, 1, 1)


@pytest.mark.parametrize(
    ("found", "kept", "new"),
    [
        ([heard(0, 0, 100)], 1, 0),
        ([heard(1, 0, 100)], 0, 1),  # another bird
        ([heard(0, 50, 150)], 1, 0),
        ([heard(0, 51, 151)], 0, 1),
        ([heard(0, 0, 201)], 0, 1),  # most of it is elsewhere
        ([heard(0, 0, 60), heard(0, 50, 100)], 1, 1),  # in two: one is more than there was
        ([], 0, 0),
    ],
)
def test_a_detection_is_kept_with_its_label_and_half_of_its_time(found: Any, kept: int, new: int) -> None:
    assert matches([[heard(0, 0, 100)]], [found]) == (kept, new)


def test_detections_of_other_recordings_are_others() -> None:
    assert matches([[heard(0, 0, 100)], []], [[], [heard(0, 0, 100)]]) == (0, 1)


class Engine:
    """Hears a level: the scores of a window are its mean, and a little less in lower precisions."""

    name, provider, concurrency, batch_size = "engine", "a test", 1, 1

    def __init__(self, card: Card, lost: float) -> None:
        self.card, self._lost = card, lost

    def infer(self, windows: FloatArray) -> FloatArray:
        level = windows.mean(axis=1, keepdims=True) - self._lost
        return np.repeat(level, len(self.card.labels), axis=1).clip(0, 1).astype(np.float32)

    def close(self) -> None:
        pass


@pytest.fixture
def levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Bundle, Path]:
    """A bundle of two precisions, and recordings of one window each: at 0.25, at 0.75, and what is no sound file."""
    bundle = tone_bundle(tmp_path / "tones")
    graph = bundle.card.precisions["fp32"]
    bundle = Bundle(bundle.path, replace(bundle.card, precisions={"fp32": graph, "int8": graph}))
    folder = tmp_path / "recordings"
    folder.mkdir()
    for level in (0.25, 0.75):
        samples = np.full(bundle.card.window_samples, level)
        soundfile.write(folder / f"{level}.wav", samples, bundle.card.sample_rate, subtype="FLOAT")
    (folder / "broken.wav").write_bytes(b"no sound")

    def open_runtime(opened: Bundle, name: str, options: RuntimeOptions, tell: Any) -> Engine:
        if "bf16" in options.precision:
            raise RuntimeUnavailableError("this CPU has no bf16")
        return Engine(opened.card, 0.0 if options.precision == "fp32" else 0.1)

    monkeypatch.setattr(agreement, "open_runtime", open_runtime)
    return bundle, folder


def test_what_is_kept_and_lost_is_counted_at_every_threshold(levels: tuple[Bundle, Path]) -> None:
    bundle, folder = levels
    told: list[str] = []
    found = list(agreements(bundle, [folder], tell=told.append))
    labels = len(bundle.card.labels)
    assert [(its.precision, its.threshold) for its in found] == [("int8", threshold) for threshold in THRESHOLDS]
    counts = {its.threshold: (its.fp32 // labels, its.kept // labels, its.lost // labels, its.new) for its in found}
    assert counts[0.1] == (2, 2, 0, 0)
    assert counts[0.2] == (2, 1, 1, 0)  # 0.25 is 0.15 in INT8
    assert counts[0.7] == (1, 0, 1, 0)
    assert counts[0.9] == (0, 0, 0, 0)
    assert any("minutes of 3 recordings" in line for line in told)
    assert any("broken.wav" in line for line in told), "a recording that says nothing must not look compared"
    assert [line for line in told if line.startswith(("bf16: ", "int8+bf16: "))], "what cannot run here is told"


def test_a_precision_that_was_asked_for_and_cannot_run_is_an_error(levels: tuple[Bundle, Path]) -> None:
    bundle, folder = levels
    with pytest.raises(RuntimeUnavailableError, match="no bf16"):
        list(agreements(bundle, [folder], precisions=["bf16"]))
    with pytest.raises(AudioError, match="no such"):
        list(agreements(bundle, [folder / "gone"]))


def test_recordings_of_which_nothing_can_be_heard_are_an_error_and_no_agreement(levels: tuple[Bundle, Path]) -> None:
    """A table of zeros would look like a comparison."""
    bundle, folder = levels
    with pytest.raises(AudioError, match="nothing to compare"):
        list(agreements(bundle, [folder / "broken.wav"]))


def test_verify_compares_the_users_own_recordings(exported: Path, recording: Path) -> None:
    """With the engine that is there; a bundle in FP32 alone has its bf16 to compare, where the CPU makes it."""
    invoke = typer.testing.CliRunner().invoke
    ended = invoke(make_app(), ["verify", str(exported), "--runtime", "ort-cpu", "--audio", str(recording), "--json"])
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout)["detections"] == []
    assert "compared on 0.4 minutes of 1 recordings" in ended.stderr
