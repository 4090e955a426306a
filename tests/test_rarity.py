"""Confirmation by rarity: a bird that is never here needs more to be believed, and is believed with more."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgebird.detection import Analysis, Settings
from edgebird.errors import UsageError
from edgebird.frequencies import WEEKS
from edgebird.pooling import Onset
from edgebird.rarity import Season, season_of
from edgebird.settings.place import PlaceSettings
from edgebird.types import AudioBlock, Detection, Rejected
from tests.conftest import require
from tests.foreign import scene, tone_bundle, tone_card

RATE = 8000
CARD = replace(tone_card(RATE, "batch"), window_samples=RATE)
RULES = PlaceSettings(table=Path("place.csv"))


def season(*frequencies: float, rules: PlaceSettings = RULES) -> Season:
    return Season(np.tile(np.array(frequencies, np.float32), (WEEKS, 1)), ["table"] * len(frequencies), rules)


def heard(found: Season | None, scores: list[float], min_windows: int = 1, threshold: float = 0.3) -> list[Any]:
    """What becomes of the scores of the first label in windows of a second that touch one another."""
    when = datetime(2026, 5, 1, 5, tzinfo=timezone.utc)
    judge = Settings(RATE, threshold, min_windows, season=found)
    analysis, results = Analysis(CARD, judge, lambda position: when), []
    blank = [0.0] * (len(CARD.labels) - 1)
    for window in analysis.push(AudioBlock(np.zeros(len(scores) * RATE, np.float32), 0)):
        score = scores[window.start // RATE]
        results += analysis.take(window, np.array([score, *blank], np.float32))
    return [one for one in [*results, *analysis.close()] if isinstance(one, Detection | Rejected | Onset)]


COMMON, UNCOMMON, RARE, UNKNOWN = 0.05, 0.005, 0.0005, np.nan
CASES = [
    # frequency, windows as set, threshold, scores, what becomes of them
    (COMMON, 1, 0.3, [0.35], "detection"),
    (0.01, 1, 0.3, [0.35], "detection"),  # 1 % is common
    (UNKNOWN, 1, 0.3, [0.35], "detection"),
    (UNCOMMON, 1, 0.3, [0.95], "rare_here"),
    (UNCOMMON, 1, 0.3, [0.35, 0.35], "detection"),
    (0.001, 1, 0.3, [0.35, 0.35], "detection"),  # 0.1 % is not rare
    (UNCOMMON, 2, 0.3, [0.95, 0.95], "rare_here"),
    (UNCOMMON, 2, 0.3, [0.95], "below_min_windows"),
    (RARE, 1, 0.3, [0.95, 0.95], "rare_here"),
    (RARE, 1, 0.3, [0.6, 0.6, 0.6], "detection"),
    (RARE, 1, 0.3, [0.45, 0.45, 0.45, 0.45], "rare_here"),
    (RARE, 1, 0.3, [0.6, 0.6, 0.45, 0.6], "rare_here"),  # not in a row
    (0.0, 1, 0.3, [0.6, 0.6, 0.6], "detection"),  # never reported here: no hard cut
    (RARE, 1, 0.9, [0.96, 0.96, 0.96], "detection"),  # a threshold that is raised can still be reached
    (RARE, 1, 0.9, [0.94, 0.94, 0.94], "rare_here"),
]


@pytest.mark.parametrize(("frequency", "windows", "threshold", "scores", "expected"), CASES)
def test_a_rarer_bird_needs_more_and_is_never_cut(
    frequency: float, windows: int, threshold: float, scores: list[float], expected: str
) -> None:
    results = heard(season(frequency, *[COMMON] * (len(CARD.labels) - 1)), scores, windows, threshold)
    if expected == "detection":
        onset, detection = results
        assert isinstance(onset, Onset)
        assert isinstance(detection, Detection)
        assert (detection.start, detection.end) == (0, len(scores) * RATE)
    else:
        (rejected,) = results
        assert rejected.reason == expected


def test_an_onset_comes_when_the_bird_is_believed_and_once() -> None:
    results = heard(season(RARE, *[COMMON] * (len(CARD.labels) - 1)), [0.6] * 5)
    assert [type(one) for one in results] == [Onset, Detection]
    assert results[0].candidate.windows == 3


def test_without_a_place_all_is_as_before() -> None:
    assert [type(one) for one in heard(None, [0.35])] == [Onset, Detection]


def test_a_rejected_bird_says_how_rare_it_is_who_says_so_and_what_it_would_have_taken() -> None:
    (rejected,) = heard(season(RARE, *[UNKNOWN] * (len(CARD.labels) - 1)), [0.95, 0.95])
    assert rejected.detail == {
        "frequency": 0.0005,
        "frequency_source": "table",
        "rule": "rare",
        "wanted_windows": 3,
        "wanted_score": 0.5,
    }


def test_each_week_has_its_own_birds_also_while_a_station_listens() -> None:
    """A station runs for months: the week is that of the window, not that of the start."""
    frequencies = np.full((WEEKS, len(CARD.labels)), COMMON, np.float32)
    frequencies[19] = RARE  # from the 22nd of May
    moments = [datetime(2026, 5, 21, 23, 59, tzinfo=timezone.utc), datetime(2026, 5, 22, 0, 1, tzinfo=timezone.utc)]
    judge = Settings(RATE, season=Season(frequencies, ["ebird"] * len(CARD.labels), RULES))
    analysis, results = Analysis(CARD, judge, lambda position: moments[position > 2 * RATE]), []
    for window in analysis.push(AudioBlock(np.zeros(5 * RATE, np.float32), 0)):
        score = 0.95 if window.start in (0, 4 * RATE) else 0.0
        results += analysis.take(window, np.full(len(CARD.labels), score, np.float32))
    results += analysis.close()
    kinds = [type(one) for one in results if isinstance(one, Detection | Rejected)]
    assert kinds == [Detection] * len(CARD.labels) + [Rejected] * len(CARD.labels)


def test_where_nobody_knows_the_day_a_bird_is_as_common_as_in_its_best_week() -> None:
    """Such as in a recording without a date."""
    frequencies = np.zeros((WEEKS, 3), np.float32)
    frequencies[20, 0], frequencies[:, 2] = COMMON, np.nan
    found = Season(frequencies, ["ebird", "ebird", ""], RULES).confirmation(None, np.full(3, 0.3, np.float32), 1)
    assert found.windows.tolist() == [1, 3, 1]
    assert found.detail(2)["frequency"] is None
    assert found.detail(2)["frequency_source"] is None


def test_the_own_table_comes_before_ebird_and_what_is_in_neither_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, *rest = CARD.labels
    (tmp_path / "place.csv").write_text(f"species,weeks,frequency\n{one.code},all,0.5\n")
    row = "\t".join([two.scientific_name, *["0.25"] * WEEKS, ""])
    other = "\t".join([one.scientific_name, *["0.125"] * WEEKS, ""])
    (tmp_path / "chart.txt").write_text("\n".join(["\t".join(["Sample Size:", *["9.0"] * WEEKS, ""]), row, other]))
    found = season_of(PlaceSettings(tmp_path / "place.csv", tmp_path / "chart.txt"), CARD.labels)
    assert found is not None
    assert found.frequencies[10, :2].tolist() == [0.5, 0.25]
    assert list(found.sources) == ["table", "ebird", *[""] * len(rest)]
    assert f"{len(rest)} of the model's {len(CARD.labels)} labels have no frequency" in caplog.text
    assert season_of(PlaceSettings(common=0.5), CARD.labels) is None


def test_what_is_rare_cannot_be_more_than_what_is_common() -> None:
    with pytest.raises(UsageError, match=r"rare 0.1 is more than common 0.01"):
        PlaceSettings(rare=0.1)


def test_detect_knows_the_season_of_each_recording(tmp_path: Path) -> None:
    """The same song in a week in which it is heard here, and in one in which it is not."""
    require("onnxruntime")
    import soundfile

    bundle = tone_bundle(tmp_path / "tones")
    label = bundle.card.labels[0]
    for day in ("20260501", "20261101"):
        soundfile.write(tmp_path / f"{day}_050000Z.wav", scene(6, [(0, 0.9, 0, 5)]), 8000)
    (tmp_path / "place.csv").write_text(f"species,weeks,frequency\n{label.scientific_name},16-30,0.2\n")
    settings = ["--bundle", bundle.path, "--place-table", tmp_path / "place.csv", "--explain"]
    command = [sys.executable, "-m", "edgebird", "detect", tmp_path, *settings]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(event["event"], event["time"][:10]) for event in events if event.get("code") == label.code}
    assert found == {("detection", "2026-05-01"), ("rejected", "2026-11-01")}
    rejected = [event for event in events if event.get("reason") == "rare_here"]
    told = {(event["frequency"], event["frequency_source"], event["rule"]) for event in rejected}
    assert told == {(0.0, "table", "rare")}
