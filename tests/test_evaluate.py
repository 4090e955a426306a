"""Evaluation: what is called right is right by rules that can be checked by hand, and figures are the field's own."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
import typer.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import Result

from edgebird.cli.app import make_app
from edgebird.errors import LabelError
from edgebird.events import Event
from edgebird.science import curves
from edgebird.science.curves import ScoredEvidence
from edgebird.science.heard import read_results
from edgebird.science.matching import NEVER, Rule, audible, in_windows, match, spans_of, window_scores, windows
from edgebird.science.tables import Span, TableReading, read_tables
from tests.conftest import require
from tests.made_truth import Made, event, raven, summary, write_truth

OVERLAP = Rule(0.5)


def edgebird(*arguments: object) -> Result:
    return typer.testing.CliRunner().invoke(make_app(), [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("rule", "detections", "annotations", "right", "found"),
    [
        # A song marked note by note is one detection, and all its notes are found.
        (OVERLAP, [(0, 5, 0.9)], [(1, 1.4), (2, 2.4)], [True], [0.9, 0.9]),
        # A long song that two detections hold: both are right, and it is found at the higher score.
        (OVERLAP, [(0, 5, 0.6), (5, 10, 0.8)], [(1, 9)], [True, True], [0.8]),
        # They share 0.4 s of 2 s: too little.
        (OVERLAP, [(0, 5, 0.9)], [(4.6, 6.6)], [False], [NEVER]),
        # The same 0.4 s are half of an annotation of 0.8 s.
        (OVERLAP, [(0, 5, 0.9)], [(4.6, 5.4)], [True], [0.9]),
        # IoU: [0, 5] and [0, 4] share 4 s of 5. The second annotation has no detection left.
        (Rule(iou=0.5), [(0, 5, 0.9)], [(0, 4), (0.5, 4.5)], [True], [0.9, NEVER]),
        # IoU: the highest score takes the annotation, the other detection of it is a false alarm.
        (Rule(iou=0.5), [(0, 5, 0.6), (0, 4.5, 0.8)], [(0, 5)], [False, True], [0.8]),
        # IoU 2 / 8 = 0.25 is too small, and at 0.25 it is enough.
        (Rule(iou=0.26), [(0, 5, 0.9)], [(3, 8)], [False], [NEVER]),
        (Rule(iou=0.25), [(0, 5, 0.9)], [(3, 8)], [True], [0.9]),
        (OVERLAP, [], [(3, 8)], [], [NEVER]),
        (Rule(iou=0.5), [(0, 5, 0.9)], [], [False], []),
    ],
)
def test_detections_are_right_by_the_rule_that_is_stated(
    rule: Rule,
    detections: list[tuple[float, float, float]],
    annotations: list[tuple[float, float]],
    right: list[bool],
    found: list[float],
) -> None:
    scores = np.array([score for _, _, score in detections])
    matched = match(spans_of([one[:2] for one in detections]), scores, spans_of(annotations), rule)
    assert (matched.right.tolist(), matched.found.tolist()) == (right, found)


def test_windows_have_what_is_in_them_and_none_is_where_nothing_was_scored() -> None:
    """13 s are two windows of 5 s and one of which more than half is there; a gap of 3 s takes the second away."""
    places = windows(13, 5, [(6, 9)])
    assert places.tolist() == [[0, 5], [10, 15]]
    assert windows(12.4, 5).tolist() == [[0, 5], [5, 10]]
    whole = windows(15, 5)
    assert in_windows(whole, spans_of([(4.7, 6), (9.8, 10.2)]), 0.5).tolist() == [False, True, True]
    assert window_scores(whole, spans_of([(0, 7.5), (5, 10)]), np.array([0.4, 0.7]), 0.5).tolist() == [0.4, 0.7, 0]
    assert audible(spans_of([(6, 7), (5.5, 7)]), [(6, 9)]).tolist() == [False, True]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 80), st.sampled_from([1, 6]))
def test_curves_are_those_of_scikit_learn(seed: int, many: int, digits: int) -> None:
    """With ties, and with recordings that count several times, as in a bootstrap."""
    metrics = require("sklearn.metrics")
    random = np.random.default_rng(seed)
    right = random.random(many) < 0.3
    right[:2] = True, False
    scores = np.round(np.clip(random.normal(0.4 + 0.2 * right, 0.2), 0, 1), digits)
    recordings = random.integers(0, 5, many)
    weights = random.integers(1, 4, 5).astype(float)
    evidence = ScoredEvidence.of_windows(scores, right, recordings)
    counts = curves.count(evidence, 5, curves.thresholds_of(evidence)).weighted(weights[None])
    given = {"sample_weight": weights[recordings]}
    assert curves.average_precision(counts)[0] == pytest.approx(metrics.average_precision_score(right, scores, **given))
    assert curves.roc_auc(counts)[0] == pytest.approx(metrics.roc_auc_score(right, scores, **given))
    fixed = curves.count(evidence, 5, np.array([0.4])).weighted(weights[None])
    precision, recall = (values[:, 0] for values in curves.precision_recall(fixed))
    wanted = metrics.fbeta_score(right, scores >= 0.4, beta=2, zero_division=0, **given)
    assert curves.f_beta(precision, recall, 2)[0] == pytest.approx(wanted)


def test_padded_cmap_is_that_of_birdclef_2023(tmp_path: Path) -> None:
    """Five rows of ones below truth and predictions, then the macro average precision of all columns."""
    metrics = require("sklearn.metrics")
    random = np.random.default_rng(3)
    codes, names = ["comcuc", "eurbla", "gretit1", "none"], ["a", "b"]
    scores = np.round(random.random((24, 4)), 3)
    truth = random.random((24, 4)) < [0.4, 0.1, 0.6, 0]
    rows = [f"{names[n // 12]}_{5 * (n % 12) + 5}," + ",".join(map(str, scores[n])) for n in range(24)]
    (tmp_path / "submission.csv").write_text("\n".join(["row_id," + ",".join(codes), *rows]) + "\n")
    (tmp_path / "tables").mkdir()
    for name in names:
        heard = [
            (5.0 * (n % 12), codes[k]) for n in range(24) for k in range(4) if truth[n, k] and names[n // 12] == name
        ]
        text = "".join(f"{start + 1}\t{start + 4}\t{code}\n" for start, code in heard)
        (tmp_path / "tables" / f"{name}.txt").write_text(text)
    ended = edgebird("evaluate", tmp_path / "submission.csv", "--truth", tmp_path / "tables", "--out", tmp_path / "out")
    assert ended.exit_code == 0, ended.output
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    ones = np.ones((5, 4))
    wanted = metrics.average_precision_score(np.vstack([truth, ones]), np.vstack([scores, ones]), average="macro")
    assert found["means"]["window"]["padded_cmap"]["value"] == pytest.approx(wanted, abs=1e-6)
    auc = [metrics.roc_auc_score(truth[:, k], scores[:, k]) for k in range(3)]
    assert found["means"]["window"]["mean_roc_auc"]["value"] == pytest.approx(np.mean(auc), abs=1e-6)
    assert found["species"]["comcuc"]["window"]["f_beta"]["value"] == pytest.approx(
        metrics.f1_score(truth[:, 0], scores[:, 0] >= 0.3), abs=1e-6
    )


def test_an_evaluation_finds_what_was_made(tmp_path: Path) -> None:
    """Precision, recall and false alarms of a thousand made detections, as counted when they were made."""
    answer = write_truth(tmp_path, Made())
    ended = edgebird(
        "evaluate", tmp_path / "results", "--truth", tmp_path / "tables", "--out", tmp_path / "out", "--threshold", 0.5,
        "--samples", 200,
    )  # fmt: skip
    assert ended.exit_code == 0, ended.output
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    told = answer.scores >= 0.5
    right = int((told & answer.right).sum())
    together = found["together"]["event"]
    assert together["annotations"] == answer.annotations
    assert together["told"] == told.sum()
    assert together["precision"]["value"] == pytest.approx(right / told.sum(), abs=1e-6)
    assert together["recall"]["value"] == pytest.approx(right / answer.annotations, abs=1e-6)
    alarms = (told.sum() - right) / answer.hours
    assert together["false_alarms_per_hour"]["value"] == pytest.approx(alarms, abs=1e-6)
    assert together["precision"]["low"] < together["precision"]["value"] < together["precision"]["high"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(?i)https?://|<script|@import|url\((?!#)", page), "it holds everything itself"
    assert "Eurasian Blackbird" in page
    again = edgebird("evaluate", tmp_path / "results", "--truth", tmp_path / "tables", "--out", tmp_path / "out")
    assert again.exit_code == 0, again.output
    (tmp_path / "out" / "species.csv").write_text("my notes\n")
    refused = edgebird("evaluate", tmp_path / "results", "--truth", tmp_path / "tables", "--out", tmp_path / "out")
    assert refused.exit_code == 1
    assert (tmp_path / "out" / "species.csv").read_text() == "my notes\n"


def test_intervals_are_of_recordings_not_of_windows() -> None:
    """Recordings that are all alike leave no doubt, however few; where one has all the false alarms there is much."""
    scores, right = np.tile([0.9, 0.8, 0.3], 8), np.tile([True, False, True], 8)
    same = ScoredEvidence.of_windows(scores, right, np.repeat(np.arange(8), 3))
    split = ScoredEvidence.of_windows(scores, right, np.where(right, np.repeat(np.arange(8), 3), 7))
    weights = curves.samples(8, 300, 1)
    spread = []
    for evidence in (same, split):
        counts = curves.count(evidence, 8, curves.thresholds_of(evidence)).weighted(weights)
        spread.append(curves.interval(curves.average_precision(counts), 0.95))
    assert spread[0] is not None
    assert spread[1] is not None
    assert spread[0][1] - spread[0][0] == pytest.approx(0)
    assert spread[1][1] - spread[1][0] > 0.1


HEADINGS = ["Selection", "View", "Begin Time (s)", "End Time (s)", "Species", "Begin Path", "File Offset (s)"]
RAVEN = [
    HEADINGS,
    ["1", "Waveform 1", "61.5", "63,0", "GT", "C:\\rec\\b.wav", "1.5"],
    ["1", "Spectrogram 1", "61.5", "63.0", "GT", "C:\\rec\\b.wav", "1.5"],
]
LABELS = "1.000000\t2.500000\tGreat Tit 0.93\n\\\t1000.0\t4000.0\n"


def tabs(rows: list[list[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "text", "spans"),
    [
        # Raven: a row for each view, times that count on over several files.
        ("t.Table.1.selections.txt", tabs(RAVEN), {"b": [Span(1.5, 3, "GT")]}),
        ("dawn.Table.1.selections.txt", tabs([HEADINGS]), {"dawn": []}),
        # Audacity: frequencies of a label on a line of their own, and what edgebird's own labels end with.
        ("dawn.txt", LABELS, {"dawn": [Span(1, 2.5, "Great Tit", 0.93)]}),
        ("dawn.wav.txt", "", {"dawn": []}),
        ("all.csv", "File,Start (s),End (s),Common name\nx/dawn.flac,0,3,GT\n", {"dawn": [Span(0, 3, "GT")]}),
        ("all.csv", "filename;start;end;label\ndawn.ogg;0,5;3;GT\n", {"dawn": [Span(0.5, 3, "GT")]}),
    ],
)
def test_tables_of_people_are_read_as_they_are(
    tmp_path: Path, name: str, text: str, spans: dict[str, list[Span]]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    marked = read_tables([tmp_path], TableReading())
    assert {path.name: its for path, its in marked.spans.items()} == spans


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "x,y\n1,2\n", "no columns for their start and end"),
        ("a.csv", "start,end,who\n1,2,GT\n", "--column"),
        ("a.csv", "start,end,label\n1,zwei,GT\n", "line 2: 'zwei' is no number"),
        ("a.csv", "start,end,label\n5,2,GT\n", "no span"),
        ("a.txt", "1.0\t2.0\tGT\nnotes\n", "line 2"),
        ("a.txt", "\0\0\0", "no text"),
        ("a.csv", 'start,end,label\n1,2,"GT\n' + "1,2,GT\n" * 25000, "no table: field larger"),
    ],
)
def test_a_table_that_is_none_is_named_with_its_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(LabelError, match=re.escape(said)) as raised:
        read_tables([tmp_path], TableReading())
    assert str(tmp_path / name) in str(raised.value)


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.rename is deprecated")  # what crowsetta calls
def test_crowsetta_reads_the_same(tmp_path: Path) -> None:
    """Its reader of Raven and ours; and by it formats are read that edgebird has no reader for."""
    require("crowsetta")
    table = raven("dawn", [event("dawn", 0, 1.5, 4, 0.8), event("dawn", 2, 20, 25.25, 1)])
    (tmp_path / "dawn.txt").write_text(table, encoding="utf-8")
    ours = read_tables([tmp_path / "dawn.txt"], TableReading("Species Code"))
    theirs = read_tables([tmp_path / "dawn.txt"], TableReading("Species Code", "raven"))
    spans = [
        [(one.start_s, one.end_s, one.name) for its in read.spans.values() for one in its] for read in (ours, theirs)
    ]
    assert spans[0] == spans[1] == [(1.5, 4, "comcuc"), (20, 25.25, "gretit1")]
    simple = "onset_s,offset_s,label\n1.0,2.5,GT\n"
    (tmp_path / "dawn.csv").write_text(simple, encoding="utf-8")
    assert read_tables([tmp_path / "dawn.csv"], TableReading("", "simple-seq")).spans == {
        PurePath("dawn"): [Span(1, 2.5, "GT")]
    }
    with pytest.raises(LabelError, match="crowsetta cannot read it as textgrid"):
        read_tables([tmp_path / "dawn.csv"], TableReading("", "textgrid"))


def test_recordings_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    """AudioMoths at two places begin at the same second."""
    for place, code in (("east", "Great Tit"), ("west", "Parus major")):
        (tmp_path / "tables" / place).mkdir(parents=True)
        (tmp_path / "tables" / place / "0500.txt").write_text(f"1\t4\t{code}\n" if place == "east" else "")
    lines = [
        event("/rec/east/0500", 2, 0, 5, 0.9), summary("/rec/east/0500", 60), event("/rec/west/0500", 2, 0, 5, 0.8),
        summary("/rec/west/0500", 60),
    ]  # fmt: skip
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    out = tmp_path / "out"
    ended = edgebird("evaluate", tmp_path / "all.jsonl", "--truth", tmp_path / "tables", "--out", out)
    assert ended.exit_code == 0, ended.output
    found = json.loads((out / "evaluation.json").read_text())["species"]["gretit1"]["event"]
    assert (found["precision"]["value"], found["recall"]["value"]) == (0.5, 1)
    (tmp_path / "tables" / "0500.txt").write_text("")
    refused = edgebird("evaluate", tmp_path / "all.jsonl", "--truth", tmp_path / "tables" / "0500.txt", "--out", out)
    assert refused.exit_code == 1
    assert "Put tables into folders" in refused.output


def test_what_the_model_cannot_know_is_told_and_what_it_never_told_is_missed(tmp_path: Path) -> None:
    """With the bundle a name that is none of its labels is left out, and said; without, it is a species never told."""
    from tests.foreign import tone_bundle

    bundle = tone_bundle(tmp_path / "bundle")
    one = event("dawn", 0, 0, 5, 0.9) | {"code": "tonlow", "scientific_name": "Tonus gravis", "common_name": "Low Tone"}
    (tmp_path / "dawn.jsonl").write_text(json.dumps(one) + "\n" + json.dumps(summary("dawn", 60)) + "\n")
    (tmp_path / "dawn.txt").write_text("1\t4\tbass\n20\t24\tMiddle Tone\n30\t31\tdog\n")
    (tmp_path / "aliases.csv").write_text("bass,Tonus gravis\n")
    given = ["--truth", tmp_path / "dawn.txt", "--aliases", tmp_path / "aliases.csv", "--out", tmp_path / "out"]
    ended = edgebird("evaluate", tmp_path / "dawn.jsonl", *given, "--bundle", bundle.path)
    assert ended.exit_code == 0, ended.output
    assert "1 spans are of what the model does not know" in ended.output
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["species"].keys() == {"tonlow", "tonmid"}
    assert found["species"]["tonmid"]["event"]["recall"]["value"] == 0
    assert edgebird("evaluate", tmp_path / "dawn.jsonl", *given).exit_code == 0
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["species"].keys() == {
        "tonlow", "Middle Tone", "dog",
    }  # fmt: skip


def evaluated(folder: Path, results: list[Event], *options: object) -> dict[str, Any]:
    """By event, of all species together."""
    (folder / "all.jsonl").write_text("".join(json.dumps(one) + "\n" for one in results))
    given = ("--truth", folder / "tables", "--out", folder / "out", *options)
    ended = edgebird("evaluate", folder / "all.jsonl", *given)
    assert ended.exit_code == 0, ended.output
    return dict(json.loads((folder / "out" / "evaluation.json").read_text())["together"]["event"])


def test_a_species_that_people_looked_for_and_the_model_never_told_is_missed(tmp_path: Path) -> None:
    """Without a bundle nobody says what the model knows: recall would be that of what it found."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "dawn.txt").write_text("1\t4\tcomcuc\n20\t24\tgretit1\n30\t34\tdog\n")
    (tmp_path / "list.txt").write_text("comcuc\ngretit1\n")
    results = [event("dawn", 0, 0, 5, 0.9), summary("dawn", 60)]
    found = evaluated(tmp_path, results, "--species-list", tmp_path / "list.txt")
    assert (found["annotations"], found["recall"]["value"]) == (2, 0.5)


def test_a_table_of_another_recorder_is_no_truth_of_this_one(tmp_path: Path) -> None:
    """Both began at the same second, and results are of one of them: what sang at the other one is not missed here."""
    for place, spans in (("R07", "1\t4\tcomcuc\n"), ("R08", "20\t24\tcomcuc\n")):
        (tmp_path / "tables" / place).mkdir(parents=True)
        (tmp_path / "tables" / place / "0500.txt").write_text(spans)
    found = evaluated(tmp_path, [event("/rec/R07/0500", 0, 0, 5, 0.9), summary("/rec/R07/0500", 60)])
    assert (found["annotations"], found["recall"]["value"]) == (1, 1)


def test_recordings_without_a_bird_count_for_false_alarms_and_for_nothing_else(tmp_path: Path) -> None:
    """A night in which nobody sings says how often the model errs: it was refused; nothing told is 0, and no error."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "night.txt").write_text("")
    heard = [event("night", 0, 10, 15, 0.9), event("night", 0, 50, 55, 0.2)]
    found = evaluated(tmp_path, [*heard, summary("night", 1800)])
    assert found["false_alarms_per_hour"]["value"] == 4
    assert found["precision"]["value"] == 0
    assert [found[name]["value"] for name in ("recall", "average_precision", "f_beta")] == [None, None, None]
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "padded_cmap" not in written["means"]["window"]
    assert any("not defined" in note for note in written["how"]["notes"])
    refused = edgebird(
        "thresholds", tmp_path / "all.jsonl", "--truth", tmp_path / "tables", "--out", tmp_path / "t.toml"
    )
    assert (refused.exit_code, "80 reviews above it that are all right are wanted" in refused.output) == (1, True)
    assert evaluated(tmp_path, [summary("night", 1800)])["false_alarms_per_hour"]["value"] == 0
    (tmp_path / "tables" / "dawn.txt").write_text("1\t4\tcomcuc\n")
    both = evaluated(tmp_path, [*heard, summary("night", 1800), event("dawn", 0, 0, 5, 0.8), summary("dawn", 1800)])
    assert (both["false_alarms_per_hour"]["value"], both["recall"]["value"]) == (2, 1)


@pytest.mark.parametrize(("name", "value"), [("score", float("nan")), ("score", 7.5), ("end_s", -1.0)])
def test_detections_that_cannot_be_are_refused_with_their_line(tmp_path: Path, name: str, value: float) -> None:
    """Scores that are logits made figures that look like any, and NaN ended in a traceback."""
    (tmp_path / "a.jsonl").write_text(json.dumps(event("dawn", 0, 0, 5, 0.9) | {name: value}) + "\n")
    with pytest.raises(LabelError, match="line 1"):
        read_results([tmp_path / "a.jsonl"])
