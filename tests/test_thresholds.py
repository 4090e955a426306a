"""Thresholds: as many are right above them as was asked for, by people who heard a part, drawn unevenly."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer.testing
from typer.testing import Result

from edgebird.cli.app import make_app
from edgebird.science.bounds import JudgedDetections, incomplete_beta, is_sure, lower_bound, wanted_size
from edgebird.science.choosing import ChosenThreshold, Refused, choose
from edgebird.science.reviewed import read_reviews
from edgebird.settings.toml import read_thresholds
from edgebird.web.reviews import Frame, ReviewStore
from edgebird.web.sampling import Stratum, band_of, draw
from tests.conftest import require
from tests.foreign import RATE, scene, tone_bundle
from tests.made_truth import LABELS, Made, chance, write_truth

FRAME = Frame(None, None, None, None, 0, 0, 0)


def edgebird(*arguments: object) -> Result:
    return typer.testing.CliRunner().invoke(make_app(), [str(argument) for argument in arguments])


def judged(scores: list[float], right: list[bool]) -> JudgedDetections:
    many = len(scores)
    return JudgedDetections(np.array(scores), np.array(right, np.bool_), np.ones(many), np.arange(many))


def test_bounds_are_those_of_clopper_and_pearson() -> None:
    """59 of 59 right are 95 % with a confidence of 95 %, 58 of 58 are not: the rule of three."""
    assert lower_bound(1.0, 59, 0.95) >= 0.95 > lower_bound(1.0, 58, 0.95)
    assert wanted_size(1.0, 0.95, 0.95) == 59
    assert wanted_size(0.95, 0.95, 0.95) is None
    stats = require("scipy.stats")
    for right, wrong, confidence in ((3, 7, 0.95), (0.4, 0.6, 0.9), (812.5, 3.2, 0.99), (40, 0, 0.95)):
        size = right + wrong
        wanted = stats.beta.ppf(1 - confidence, right, wrong + 1)
        assert lower_bound(right / size, size, confidence) == pytest.approx(wanted, abs=1e-9)
        assert incomplete_beta(right, wrong + 1, 0.6) == pytest.approx(stats.beta.cdf(0.6, right, wrong + 1), abs=1e-12)


def test_detections_of_few_recordings_are_less_evidence() -> None:
    """A hundred wrong ones in one recording are one bad recording; a hundred here and there are a bad model."""
    right = np.arange(1000) >= 100
    spread, together = np.arange(1000) % 50, np.arange(1000) // 20
    sizes = [JudgedDetections(np.full(1000, 0.5), right, np.ones(1000), one).size for one in (spread, together)]
    assert sizes[0] > 990
    assert sizes[1] < 100


def test_what_is_chosen_is_right_as_often_as_was_asked_for() -> None:
    """A model of which 94.5 % are right at every score must get no threshold for 95 %, but by a chance of 5 %.

    Taking any threshold whose own bound is good enough finds one in a tenth of all cases.
    """
    random = np.random.default_rng(9)
    scores = np.linspace(1, 0.01, 600)
    chosen = careless = 0
    for _ in range(80):
        right = random.random(600) < 0.945
        one = JudgedDetections(scores, right, np.ones(600), np.arange(600))
        chosen += isinstance(choose(one, 0.95, 0.95), ChosenThreshold)
        counts = np.cumsum(right)
        careless += any(is_sure(counts[k] / (k + 1), k + 1, 0.95, 0.95) for k in range(58, 600))
    assert chosen <= 0.05 * 80
    assert careless > 0.05 * 80


def test_a_threshold_is_as_low_as_may_be_and_too_little_evidence_is_refused_with_what_is_missing() -> None:
    scores = np.linspace(0.1, 0.999, 900).round(4).tolist()
    good = choose(judged(scores, [score > 0.5 for score in scores]), 0.95, 0.95)
    assert isinstance(good, ChosenThreshold)
    assert 0.45 < good.threshold < 0.5
    assert good.bound >= 0.95
    assert good.kept == 1
    few = choose(judged(scores[-40:], [True] * 40), 0.95, 0.95)
    assert isinstance(few, Refused)
    assert few.more == 80 - 40  # of a third of the chance of an error
    assert isinstance(choose(judged(scores[-80:], [True] * 80), 0.95, 0.95), ChosenThreshold)
    one_recording = JudgedDetections(np.array(scores[-80:]), np.ones(80, np.bool_), np.ones(80), np.zeros(80, np.int_))
    lucky = choose(one_recording, 0.95, 0.95)
    assert isinstance(lucky, Refused)
    assert lucky.more == 0
    bad = choose(judged(scores, [False] * 900), 0.95, 0.95)
    assert isinstance(bad, Refused)
    assert bad.more is None


TIME = "2023-05-01T05:11:12.000+02:00"
INSERT = """INSERT INTO reviews (time, verdict, draw, stratum, probability, detection, source, detected, start_s, end_s,
    code, scientific_name, common_name, score)
    VALUES ('', ?, ?, ?, ?, ?, 'garden', ?, 0, 5, ?, 'Cuculus canorus', 'Common Cuckoo', ?)"""


def reviewed(path: Path, scores: np.ndarray, right: np.ndarray, sizes: list[int], seed: int) -> None:
    """Draw and review as `serve` does; of each draw all but the last tenth is reviewed."""
    store, code = ReviewStore(path), LABELS[0].code
    frame: dict[Stratum, list[int]] = {}
    for number, score in enumerate(scores, 1):
        frame.setdefault(Stratum(code, band_of(score)), []).append(number)
    done: set[int] = set()
    for many in sizes:
        drawn = draw(frame, many, seed + 1000 * many)
        place = store.add_draw(FRAME, seed, drawn)
        rows = []
        for one in drawn[: many - many // 10]:
            if one.detection in done:
                continue
            done.add(one.detection)
            score, verdict = float(scores[one.detection - 1]), "right" if right[one.detection - 1] else "wrong"
            rows.append((verdict, place, one.stratum.name, one.probability, one.detection, TIME, code, score))
        with closing(sqlite3.connect(path)) as connection, connection:  # one transaction: each would wait for the disk
            connection.executemany(INSERT, rows)


def test_the_truth_is_recovered_from_reviews_by_their_weights_and_not_without(tmp_path: Path) -> None:
    """Most detections have low scores and are wrong; a draw has as many of each band, so that half of it is right.

    Two draws of the same detections, neither reviewed to its end, as people do.
    """
    random = np.random.default_rng(11)
    scores = np.round(np.clip(random.beta(1.2, 4, 4000), 0.001, 0.999), 6)
    right = random.random(4000) < chance(scores, 1.5, 1.0)
    truth = [right[scores >= threshold].mean() for threshold in (0, 0.3, 0.5)]
    weighted, plain = [], []
    for seed in range(12):
        path = tmp_path / f"{seed}.reviews"
        reviewed(path, scores, right, [150, 60], seed)
        (one,) = read_reviews(path).judged.values()
        weighted.append([one.above(threshold).share for threshold in (0, 0.3, 0.5)])
        plain.append([one.right[one.scores >= threshold].mean() for threshold in (0, 0.3, 0.5)])
    error = 4 * np.std(weighted, axis=0) / np.sqrt(len(weighted))
    assert (abs(np.mean(weighted, axis=0) - truth) < error).all()
    assert np.mean(plain, axis=0)[0] - truth[0] > 0.15


def test_reviews_become_thresholds_that_detect_takes(tmp_path: Path) -> None:
    """The whole way: a station's reviews, a file, and a detection that is not told any more."""
    random = np.random.default_rng(2)
    scores = np.round(random.random(1500), 6)
    reviewed(tmp_path / "birds.db.reviews", scores, scores > 0.55, [600], 3)
    out = tmp_path / "thresholds.toml"
    ended = edgebird("thresholds", "--reviews", tmp_path / "birds.db.reviews", "--out", out)
    assert ended.exit_code == 0, ended.output
    assert re.search(r"Common Cuckoo \(comcuc\): 0\.\d+: 9\d\.\d% right, at least 9\d\.\d%", ended.output)
    (threshold,) = read_thresholds(out).values()
    assert 0.5 < threshold < 0.56
    bundle = tone_bundle(tmp_path / "bundle")
    soundfile.write(tmp_path / "x.wav", scene(5, [(0, 0.4, 0, 5)]), RATE)
    detect = ("detect", tmp_path / "x.wav", "--bundle", bundle.path, "--format", "csv")
    refused = edgebird(*detect, "--thresholds", out)
    assert refused.exit_code == 2
    assert "threshold of comcuc" in refused.output
    out.write_text(out.read_text().replace("comcuc", "tonlow"))
    assert "Low Tone" in edgebird(*detect).stdout
    assert "Low Tone" not in edgebird(*detect, "--thresholds", out).stdout
    (tmp_path / "notes.toml").write_text("[thresholds]\n")
    kept = edgebird("thresholds", "--reviews", tmp_path / "birds.db.reviews", "--out", tmp_path / "notes.toml")
    assert kept.exit_code == 1
    assert (tmp_path / "notes.toml").read_text() == "[thresholds]\n"


def test_too_few_reviews_write_nothing_and_say_how_many_more(tmp_path: Path) -> None:
    write_truth(tmp_path, Made(recordings=3))
    given = ["--truth", tmp_path / "tables", "--out", tmp_path / "t.toml"]
    ended = edgebird("thresholds", tmp_path / "results", *given)
    assert ended.exit_code == 1
    assert re.search(r"Great Tit \(gretit1\): no threshold, 39 judged: .* about \d+ more reviews", ended.output)
    assert not (tmp_path / "t.toml").exists()
    assert edgebird("thresholds", tmp_path / "results", "--out", tmp_path / "t.toml").exit_code == 2


def test_what_was_drawn_counts_whatever_its_clock_said(tmp_path: Path) -> None:
    """A recorder whose clock is wrong heard it after the draw: no review may end in a division by zero."""
    path = tmp_path / "birds.reviews"
    reviewed(path, np.array([0.5, 0.6]), np.array([True, False]), [2], 0)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE reviews SET detected = '2099-01-01T05:00:00.000+00:00'")
    (one,) = read_reviews(path).judged.values()
    assert (len(one.scores), set(one.weights)) == (2, {1.0})


def test_a_threshold_is_no_lower_than_what_was_judged() -> None:
    """All that was judged is right, down to 0.0019: that says nothing of scores of 0."""
    found = choose(judged([0.0019, *np.linspace(0.002, 0.9, 400)], [True] * 401), 0.95, 0.95)
    assert isinstance(found, ChosenThreshold)
    assert 0.0017 < found.threshold <= 0.0019
