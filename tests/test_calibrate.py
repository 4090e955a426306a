"""Probabilities: of what is said to be right with 0.8 eight of ten are, also in recordings that had no part in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import typer.testing
from typer.testing import Result

from edgebird.bundle import open_bundle
from edgebird.calibration import logit
from edgebird.card import read_card
from edgebird.cli.app import make_app
from edgebird.science import calibrating
from edgebird.science.bounds import JudgedDetections
from edgebird.science.calibrating import COMMON_SD, SHIFT_SD, SLOPE_SD, Samples, brier, fit, leave_one_out
from edgebird.types import Label
from tests.conftest import require
from tests.foreign import tone_bundle
from tests.made_truth import LABELS, Made, chance, write_truth


def edgebird(*arguments: object) -> Result:
    return typer.testing.CliRunner().invoke(make_app(), [str(argument) for argument in arguments])


def made(sizes: Sequence[tuple[int, float, float]], seed: int = 0, weighted: bool = False) -> Samples:
    """Detections of species of so many each, right by these slopes and shifts, in 7 recordings."""
    random = np.random.default_rng(seed)
    judged, groups = {}, {}
    for number, (many, slope, shift) in enumerate(sizes):
        scores = random.uniform(0.02, 0.98, many)
        right = random.random(many) < chance(scores, slope, shift)
        weights = random.uniform(1, 3, many) if weighted else np.ones(many)
        judged[str(number)] = JudgedDetections(scores, right, weights, np.arange(many))
        groups[str(number)] = [f"r{one % 7}" for one in range(many)]
    return Samples.of(judged, groups)


def test_what_was_made_is_found_again() -> None:
    """Twenty thousand detections each of two species with curves of their own."""
    fitted = fit(made([(20_000, 1.5, 0.5), (20_000, 0.8, -1.0)]))
    assert fitted.species == pytest.approx(np.array([[0.5, 1.5], [-1.0, 0.8]]), abs=0.1)


def test_a_species_of_which_little_is_known_has_the_slope_of_all_and_one_that_is_known_its_own() -> None:
    """Three that are all right would else be right for ever, at every score."""
    many = [(3000, 1.5, 0.0)] * 4
    fitted = fit(made([*many, (3000, 0.6, 0.0), (3, 1.5, 30.0)]))
    assert fitted.species[4, 1] == pytest.approx(0.6, abs=0.1)
    assert fitted.species[5, 1] == pytest.approx(fitted.common[1], abs=0.1)
    assert 0 < fitted.species[5, 0] < SHIFT_SD


def test_the_fit_is_that_of_scikit_learn() -> None:
    """Its logistic regression with a quadratic penalty is the same most likely curve, with weights too."""
    linear = require("sklearn.linear_model")
    samples = made([(400, 1.5, 0.5), (30, 1.2, -1), (5, 1.5, 2), (100, 0.6, 0)], weighted=True)
    columns = np.zeros((len(samples.x), 2 + 2 * samples.many))
    columns[:, 0], columns[:, 1] = COMMON_SD, COMMON_SD * samples.x
    for number in range(samples.many):
        its = samples.species == number
        columns[its, 2 + 2 * number], columns[its, 3 + 2 * number] = SHIFT_SD, SLOPE_SD * samples.x[its]
    theirs = linear.LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, solver="newton-cholesky")
    theirs.fit(columns, samples.right, sample_weight=samples.weights)
    ours = fit(samples).probability(samples)
    assert ours == pytest.approx(theirs.predict_proba(columns)[:, 1], abs=1e-6)
    metrics = require("sklearn.metrics")
    wanted = metrics.brier_score_loss(samples.right, ours, sample_weight=samples.weights)
    assert brier(ours, samples) == pytest.approx(wanted)


def test_probabilities_are_held_to_recordings_that_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that is told by itself looks better than it is: here right and wrong follow from nothing at all."""
    samples = made([(8, 0.0, 0.0)] * 12, seed=4)
    fitted = fit(samples)
    told = leave_one_out(samples, fitted)
    assert told is not None
    for group in np.unique(samples.groups):
        out = samples.groups == group
        assert told[out] == pytest.approx(fit(samples.only(~out)).probability(samples.only(out)), abs=1e-6)
    assert brier(told, samples) > brier(fitted.probability(samples), samples)
    assert leave_one_out(samples.only(samples.groups == 0), fitted) is None
    monkeypatch.setattr(calibrating, "_MOST_PARTS", 3)
    several = leave_one_out(samples, fitted)
    assert several is not None
    out = np.isin(samples.groups, [1, 4])  # recordings 1 and 4 of 7 are one part of three
    assert several[out] == pytest.approx(fit(samples.only(~out)).probability(samples.only(out)), abs=1e-6)


def test_the_whole_way_from_tables_to_events(tmp_path: Path) -> None:
    """The card keeps it with what it was made from, graphs stay as they were, and events have what the curve says."""
    labels = (*LABELS[:2], Label("gretit1", "Parus major", "Great Tit"))
    bundle = tone_bundle(tmp_path / "bundle", labels=labels)
    before = {path.name: path.read_bytes() for path in bundle.path.iterdir()}
    write_truth(tmp_path / "truth", Made(recordings=12, minutes=12, detections=60))
    given = (tmp_path / "truth" / "results", "--truth", tmp_path / "truth" / "tables")
    ended = edgebird("calibrate", bundle.path, *given, "--report", tmp_path / "page.html")
    assert ended.exit_code == 0, ended.output
    calibration = open_bundle(bundle.path).card.calibration
    assert calibration is not None
    assert calibration.curves.keys() == {label.code for label in labels}
    assert "in 12 recordings with tables" in calibration.source
    assert calibration.brier is not None
    assert calibration.brier < calibration.brier_of_scores
    for label, shift in zip(labels, Made().shifts, strict=True):
        curve = calibration.curves[label.code]
        assert curve.probability(0.6) == pytest.approx(float(chance(np.array([0.6]), 1.5, shift)[0]), abs=0.12)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Brier score" in page
    assert "by the other 11 recordings" in page

    from edgebird.events import Events
    from edgebird.types import Detection, Origin

    event = Events.of(read_card(bundle.path / "card.json")).tell(Origin("x"), Detection(0, 0.6, 0, 8000, 1, 1))
    assert list(event)[-3:] == ["score", "probability", "windows"]
    assert event["probability"] == pytest.approx(calibration.curves["comcuc"].probability(0.6), abs=1e-4)

    assert edgebird("calibrate", bundle.path, "--remove").exit_code == 0
    assert {path.name: path.read_bytes() for path in bundle.path.iterdir()} == before


def test_too_little_evidence_leaves_the_card_as_it_is(tmp_path: Path) -> None:
    bundle = tone_bundle(tmp_path / "bundle", labels=LABELS)
    before = (bundle.path / "card.json").read_bytes()
    write_truth(tmp_path / "truth", Made(recordings=1, detections=12))
    shutil.rmtree(tmp_path / "truth" / "tables")
    (tmp_path / "truth" / "tables").mkdir()
    (tmp_path / "truth" / "tables" / "dawn0.txt").write_text("1\t3\tGreat Tit\n")
    given = (tmp_path / "truth" / "results", "--truth", tmp_path / "truth" / "tables")
    ended = edgebird("calibrate", bundle.path, *given)
    assert ended.exit_code == 1
    assert "are judged" in ended.output
    assert (bundle.path / "card.json").read_bytes() == before
    assert "calibration" not in json.loads(before)


def test_logits_are_finite_for_scores_that_are_0_or_1() -> None:
    assert np.isfinite(logit(np.array([0.0, 1.0, 0.5]))).all()
