"""Suppression: a dog that is scored as an owl too is told as a dog, and an owl that called before it stays one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird.detection import Analysis, Settings, detection_settings
from edgebird.errors import UsageError
from edgebird.pooling import Onset
from edgebird.settings.build import recording_settings
from edgebird.settings.model import DetectionSettings
from edgebird.settings.suppress import SuppressSettings
from edgebird.suppression import suppression_of
from edgebird.types import AudioBlock, Detection, Rejected
from tests.foreign import tone_card

RATE = 8000
CARD = replace(tone_card(RATE, "batch"), window_samples=RATE)
DOG, OWL, WREN = 0, 1, 2


def heard(settings: SuppressSettings, scores: dict[int, list[float]]) -> list[Any]:
    """What becomes of the scores of labels in windows of a second."""
    length = max(map(len, scores.values()))
    analysis, results = Analysis(CARD, Settings(RATE, suppression=suppression_of(settings, CARD))), []
    for window in analysis.push(AudioBlock(np.zeros(length * RATE, np.float32), 0)):
        row = np.zeros(len(CARD.labels), np.float32)
        for label, values in scores.items():
            row[label] = values[window.start // RATE] if window.start // RATE < len(values) else 0
        results += analysis.take(window, row)
    return [one for one in [*results, *analysis.close()] if isinstance(one, Detection | Rejected | Onset)]


def told(results: list[Any], label: int) -> list[str]:
    found = []
    for one in results:
        candidate = one if isinstance(one, Detection) else one.candidate
        if candidate.label == label:
            found.append(one.reason if isinstance(one, Rejected) else type(one).__name__)
    return found


DOG_CODE = CARD.labels[DOG].code
RULE = SuppressSettings({DOG_CODE: 3})
CASES = {
    "with it": ([0.9], [0.9], ["suppressed"]),
    "soon after": ([0.9], [0, 0, 0, 0.9], ["suppressed"]),
    "later": ([0.9], [0, 0, 0, 0, 0.9], ["Onset", "Detection"]),
    "before it": ([0, 0.9], [0.9, 0.9], ["Onset", "Detection"]),
    "a dog that is not sure": ([0.4], [0.9], ["Onset", "Detection"]),
    "soon after a long one": ([0.9] * 5, [0] * 7 + [0.9], ["suppressed"]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_begins_while_a_dog_barks_or_soon_after_is_rejected(case: str) -> None:
    dog, owl, expected = CASES[case]
    results = heard(RULE, {DOG: dog, OWL: owl})
    assert told(results, OWL) == expected
    assert told(results, DOG) == ["Onset", "Detection"]  # it is told itself


def test_it_is_told_who_silenced_it_and_only_the_listed_are_silenced(tmp_path: Path) -> None:
    (tmp_path / "owls.txt").write_text(CARD.labels[OWL].code)
    listed = SuppressSettings({DOG_CODE: 3}, species_list=tmp_path / "owls.txt")
    results = heard(listed, {DOG: [0.9], OWL: [0.9], WREN: [0.9]})
    assert told(results, WREN) == ["Onset", "Detection"]
    (rejected,) = [one for one in results if isinstance(one, Rejected)]
    assert rejected.detail == {"suppressed_by": DOG_CODE}


def test_a_class_that_the_model_has_not_is_refused_and_names_will_do() -> None:
    with pytest.raises(UsageError, match="suppress wolf: no label of this model"):
        detection_settings(DetectionSettings(Path("x"), hop_s=1, suppress=SuppressSettings({"wolf": 3})), CARD)
    by_name = suppression_of(SuppressSettings({CARD.labels[DOG].scientific_name.upper(): 3}), CARD)
    assert by_name is not None
    assert list(by_name.after) == [DOG]
    assert suppression_of(SuppressSettings(), CARD) is None


def test_the_command_line_takes_several() -> None:
    given = {"bundle": Path("x"), "suppress.classes": {"dog": 30.0, "siren": 60.0}}
    detection, _ = recording_settings(given)
    assert detection.suppress is not None
    assert detection.suppress.classes == {"dog": 30.0, "siren": 60.0}
