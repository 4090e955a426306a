"""Detection: the same audio gives the same results however it arrives, and no sample of it is unaccounted for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import edgebird
from edgebird.bundle import Bundle
from edgebird.card import Card, Precision, Tensor
from edgebird.detection import Result, Scored, Settings, analyse, detection_settings, settings_for
from edgebird.errors import AudioError, RuntimeUnavailableError, ScoreError, UsageError
from edgebird.parity import check_finite
from edgebird.runtimes import RuntimeOptions, open_runtime
from edgebird.settings.model import DetectionSettings
from edgebird.sources import FileSource
from edgebird.types import AudioBlock, Detection, FloatArray, Gap, Label, Summary

RATE, WINDOW_S, HOP_S = 100, 5, 2.5
WINDOW = WINDOW_S * RATE
CARD = Card(
    labels=(Label("loud", "Sonus magnus", "Loud"), Label("soft", "Sonus parvus", "Soft")),
    sample_rate=RATE,
    window_samples=WINDOW,
    input=Tensor("audio", ("batch", WINDOW)),
    output=Tensor("scores", ("batch", 2)),
    precisions={"fp32": Precision("model.onnx", "", 17)},
)


class Ear:
    """A runtime that hears loudness: `loud` scores the mean of the samples' magnitude, `soft` the share of silence.

    heard: the batches it was given. The windows of a `batch` card also hear the loudest of their batch, a little.
    """

    name, provider, concurrency = "ear", "a test", 1

    def __init__(self, card: Card = CARD) -> None:
        self.card = card
        self.batch_size = max(card.batches)
        self.heard: list[FloatArray] = []

    def infer(self, windows: FloatArray) -> FloatArray:
        self.heard.append(windows.copy())
        magnitude = np.abs(windows)
        coupling = 1e-3 * magnitude.max() if self.card.db_floor == "batch" else 0
        scores = np.stack([magnitude.mean(axis=1) + coupling, (magnitude < 0.01).mean(axis=1)], axis=1)
        check_finite(scores)
        return scores.astype(np.float32)

    def close(self) -> None:
        pass


def audio(seconds: float) -> FloatArray:
    """Noise that swells and fades within 4 s, then 8 s of silence, and again: float32 [n]."""
    time = np.arange(round(seconds * RATE)) / RATE
    envelope = np.where(time % 12 < 4, np.abs(np.sin(np.pi * time / 4)), 0)
    noise = np.random.default_rng(5).choice([-0.9, 0.9], len(time))
    return (noise * envelope).astype(np.float32)


def blocks(samples: FloatArray, cuts: Sequence[int] = ()) -> Iterator[AudioBlock]:
    start = 0
    for piece in np.split(samples, sorted(cuts)):
        yield AudioBlock(piece, start)
        start += len(piece)


def run(source: Iterator[AudioBlock], ear: Ear, **options: Any) -> list[Result]:
    return list(analyse(source, ear, settings_for(ear.card, **({"hop_s": HOP_S} | options))))


def told(results: Sequence[Result]) -> list[object]:
    """Results as values that can be compared, without the wall clock."""
    told: list[object] = []
    for result in results:
        if isinstance(result, Scored):
            told.append((result.window.start, result.window.end, result.window.samples.tobytes(), *result.scores))
        else:
            told.append(replace(result, wall_s=0) if isinstance(result, Summary) else result)
    return told


def scored(results: Sequence[Result]) -> list[Scored]:
    return [result for result in results if isinstance(result, Scored)]


@pytest.mark.parametrize("floor", ["window", "batch"])
@hypothesis_settings(derandomize=True, deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 3120), max_size=12))
def test_how_a_stream_is_cut_into_blocks_makes_no_difference(floor: str, cuts: list[int]) -> None:
    """A file and a microphone deliver the same audio in other pieces, and must give the same birds."""
    card, samples = replace(CARD, db_floor=floor), audio(31.2)
    whole = run(blocks(samples), Ear(card), min_windows=2)
    assert sum(isinstance(result, Detection) for result in whole) >= 3
    assert told(run(blocks(samples, cuts), Ear(card), min_windows=2)) == told(whole)


def test_windows_that_share_a_floor_are_scored_in_fours_from_the_start() -> None:
    """The author's grouping: any other gives scores that nobody has proven."""
    ear = Ear(replace(CARD, db_floor="batch"))
    samples = audio(52)
    results = run(blocks(samples, [1, 333, 1700]), ear, hop_s=WINDOW_S)
    assert [len(batch) for batch in ear.heard] == [4, 4, 3]
    padded = np.pad(samples, (0, 11 * WINDOW - len(samples))).reshape(11, WINDOW)
    np.testing.assert_array_equal(np.concatenate(ear.heard), padded)
    assert [result.window.start for result in scored(results)] == list(range(0, len(samples), WINDOW))


def test_other_windows_are_scored_as_if_they_were_alone() -> None:
    """Whatever is scored beside it, a window of a model without a shared floor has one score."""
    for result in scored(run(blocks(audio(40)), Ear())):
        np.testing.assert_array_equal(Ear().infer(result.window.samples[None])[0], result.scores)


def test_the_last_window_is_padded_with_zeros_and_ends_with_the_audio() -> None:
    """A bird in the last seconds counts, and no detection lasts longer than its recording."""
    samples = np.full(820, 0.9, np.float32)  # 8.2 s: windows at 0 and 2.5 s, and one at 5 s with 3.2 s in it
    ear = Ear()
    results = run(blocks(samples), ear)
    last = scored(results)[-1]
    assert (last.window.start, last.window.end) == (500, 820)
    np.testing.assert_array_equal(last.window.samples, np.pad(samples[500:], (0, 180)))
    detections = [result for result in results if isinstance(result, Detection)]
    assert [(found.label, found.start, found.end, found.windows) for found in detections] == [
        (0, 0, 820, 3),
        (1, 500, 820, 1),  # the padding is silence too
    ]


@pytest.mark.parametrize(
    ("samples", "windows", "scored_samples"),
    [(0, 0, 0), (49, 0, 0), (50, 1, 50), (499, 1, 499), (500, 1, 500), (549, 1, 500), (550, 2, 550), (799, 2, 750)],
)
def test_a_tail_is_scored_from_half_a_second_on(samples: int, windows: int, scored_samples: int) -> None:
    """What is shorter is told as the tail; below half a second there is nothing but the account."""
    results = run(blocks(np.full(samples, 0.9, np.float32)), Ear())
    summary = results[-1]
    assert isinstance(summary, Summary)
    assert (summary.windows, summary.scored, summary.gap, summary.tail) == (
        windows,
        scored_samples,
        0,
        samples - scored_samples,
    )
    assert (len(results) == 1) == (windows == 0)


def test_lost_audio_is_accounted_for_and_never_bridged() -> None:
    """A station that was deaf for a while must say so, and not join the songs before and after."""
    loud = np.full(1020, 0.9, np.float32)
    results = run(iter([AudioBlock(loud, 0), AudioBlock(loud, 1500), AudioBlock(loud[:30], 2600)]), Ear())
    summary = results[-1]
    assert isinstance(summary, Summary)
    assert (summary.scored, summary.gap, summary.tail) == (2000, 480 + 80, 20 + 20 + 30)
    assert summary.scored + summary.gap + summary.tail == 2630
    spans = [(result.start, result.end) for result in results if isinstance(result, Detection)]
    assert spans == [(0, 1000), (1500, 2500)]


def test_the_summary_is_last_and_counts_what_was_told() -> None:
    results = run(blocks(audio(60)), Ear(), min_windows=2)
    kinds = [type(result).__name__ for result in results]
    assert kinds.index("Summary") == len(kinds) - 1
    summary = results[-1]
    assert isinstance(summary, Summary)
    assert summary.windows == kinds.count("Scored")
    assert summary.detections == kinds.count("Detection") > 1


def test_detections_come_as_soon_as_they_are_certain() -> None:
    """A live source never ends: a bird of the first seconds must not wait for that."""
    loud, silent = np.full(WINDOW, 0.9, np.float32), np.zeros(12 * WINDOW, np.float32)
    came = 0

    def endless() -> Iterator[AudioBlock]:
        nonlocal came
        for block in blocks(np.concatenate([loud, silent]), range(0, 13 * WINDOW, 50)):
            came = block.end
            yield block

    results = analyse(endless(), Ear(), settings_for(CARD, HOP_S))
    assert next(result for result in results if isinstance(result, Detection) and result.label == 0).end == 750
    assert came <= 20 * RATE


@pytest.mark.parametrize(("floor", "gap"), [("window", (35, 40)), ("batch", (32.5, 42.5))])
def test_windows_without_finite_scores_are_a_gap_and_named_and_no_other_is_lost(
    floor: str, gap: tuple[float, float]
) -> None:
    """The user hears what made it. Those that share a floor are scored together or not at all."""
    samples = audio(60)
    samples[3510] = np.nan  # in the windows at 32.5 and 35 s
    results: list[Result] = []
    ear = Ear(replace(CARD, db_floor=floor))
    with pytest.raises(ScoreError, match=r"^ear, audio at [\d.]+-[\d.]+ s: .* not finite") as caught:
        results.extend(analyse(blocks(samples), ear, settings_for(CARD, HOP_S)))
    start, end = map(float, str(caught.value).split()[3].split("-"))
    assert start <= 35.1 <= end <= start + 4 * WINDOW_S
    gaps = [result for result in results if isinstance(result, Gap)]
    assert {one.reason for one in gaps} == {"engine"}
    assert (gaps[0].start / RATE, gaps[-1].end / RATE) == gap
    assert all(one.end == other.start for one, other in pairwise(gaps))
    (summary,) = [result for result in results if isinstance(result, Summary)]
    assert (summary.gap, summary.scored) == ((gap[1] - gap[0]) * RATE, (60 - gap[1] + gap[0]) * RATE)
    assert len(scored(results)) == summary.windows == 23 - round((gap[1] - gap[0]) / HOP_S)


def test_what_was_heard_before_damage_is_told() -> None:
    """Half a recording with a song at its end: the song is a result, and the damage an error."""

    def damaged() -> Iterator[AudioBlock]:
        yield from blocks(np.full(round(7.5 * RATE), 0.9, np.float32))
        raise AudioError("damaged")

    found: list[Result] = []
    with pytest.raises(AudioError, match="damaged"):
        found.extend(analyse(damaged(), Ear(), settings_for(CARD, HOP_S)))
    assert [(one.start, one.end) for one in found if isinstance(one, Detection)] == [(0, 750)]


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        (lambda count: np.full((count, 2), np.nan, np.float32), "4 of 4|2 of 2 scores are not finite"),
        (lambda count: np.zeros((count, 3), np.float32), r"the engine gave scores \[1, 3\], wanted \[1, 2\]"),
        (lambda count: None, r"the engine gave scores \[\], wanted"),
        (lambda count: {}[count], "KeyError: 1"),
    ],
)
def test_an_engine_that_scores_nothing_is_stopped_and_says_why(scores: Any, told: str) -> None:
    class Broken(Ear):
        def infer(self, windows: FloatArray) -> FloatArray:
            found: FloatArray = scores(len(windows))
            return found

    with pytest.raises(RuntimeUnavailableError, match=f"^ear scores nothing any more: .*{told}"):
        run(blocks(audio(60)), Broken())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"hop_s": 0}, "hop 0 s"),
        ({"hop_s": -1}, "hop -1 s"),
        ({"hop_s": 5.01}, "at most the window, 5 s"),
        ({"hop_s": 0.001}, "hop 0.001 s"),  # less than a sample
        ({"hop_s": float("nan")}, "hop nan s"),
        ({"hop_s": float("inf")}, "hop inf s"),
        ({"threshold": -0.1}, "threshold -0.1"),
        ({"threshold": 1.1}, "threshold 1.1"),
        ({"threshold": float("nan")}, "threshold nan"),
        ({"min_windows": 0}, "min-windows 0"),
    ],
)
def test_settings_that_make_no_sense_are_wrong_usage(options: dict[str, float], problem: str) -> None:
    """A NaN threshold would report nothing, for ever, without a word."""
    with pytest.raises(UsageError, match=problem):
        settings_for(CARD, **options)  # type: ignore[arg-type]


def test_a_threshold_by_scientific_name_reaches_all_labels_of_the_species() -> None:
    """Models have songs and calls apart; a code, which is one of them, comes before the species."""
    labels = (
        Label("song", "Cuculus canorus", "Cuckoo song"),
        Label("call", "Cuculus canorus", "Cuckoo call"),
        Label("other", "Parus major", "Great Tit"),
        Label("noise", "", "Noise"),
    )
    card = replace(CARD, labels=labels, output=Tensor("scores", ("batch", 4)))
    for thresholds in ({"cuculus  Canorus": 0.6, "CALL": 0.8}, {"call": 0.8, "Cuculus canorus": 0.6}):
        wanted = DetectionSettings(Path("x"), threshold=0.25, thresholds=thresholds)
        found = detection_settings(wanted, card).threshold
        assert np.asarray(found).tolist() == pytest.approx([0.6, 0.8, 0.25, 0.25])
    with pytest.raises(UsageError, match="threshold of : no label"):
        detection_settings(DetectionSettings(Path("x"), thresholds={"": 0.5}), card)


def test_settings_reach_their_limits() -> None:
    """Windows side by side, and at every sample; every score, and only a certain one."""
    for hop_s, hop, threshold in ((5, 500, 0), (0.01, 1, 1)):
        settings = settings_for(CARD, hop_s, threshold)
        assert (settings.hop, settings.threshold) == (hop, threshold)


def spans_of(hits: NDArray[np.bool_], hop: int, window: int, end: int) -> list[tuple[int, int]]:
    """Windows that hit, joined where they overlap or touch: the rule of the design, written the other way round."""
    covered = np.zeros(end + 1, np.bool_)
    for index in np.flatnonzero(hits):
        covered[index * hop : index * hop + window] = True
    covered[end] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[False], covered]).astype(int)))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def test_a_real_network_gives_the_birds_its_scores_say(bundle: Bundle, recording: Path) -> None:
    """From the file to the events, against windows that are cut, scored and joined here by hand."""
    runtime = open_runtime(bundle, "ort-cpu", RuntimeOptions(threads=1))
    samples = np.concatenate([block.samples for block in FileSource(recording, 32000).blocks()])
    hop, window = 80_000, 160_000
    windows = [samples[start : start + window] for start in range(0, 9 * hop, hop)]  # the last one is padded
    padded = np.stack([np.pad(piece, (0, window - len(piece))) for piece in windows])
    scores = np.concatenate([runtime.infer(one[None]) for one in padded])
    # The seeded network hears every class a little, so the threshold goes through the label that varies most.
    label = int(np.ptp(scores, axis=0).argmax())
    threshold = float(np.sort(scores[:, label])[3:5].mean())
    results = list(analyse(FileSource(recording, 32000).blocks(), runtime, Settings(hop, threshold)))
    np.testing.assert_allclose(np.stack([result.scores for result in scored(results)]), scores, rtol=0, atol=1e-5)
    found = [result for result in results if isinstance(result, Detection)]
    for index in range(len(bundle.card.labels)):
        expected = spans_of(scores[:, index] >= threshold, hop, window, len(samples))
        assert [(one.start, one.end) for one in found if one.label == index] == expected
    assert 0 < sum(one.windows for one in found if one.label == label) < 9
    events = list(edgebird.detect(recording, runtime, threshold=threshold))
    codes = [bundle.card.labels[one.label].code for one in found]
    assert [(event["code"], event["start_s"], event["end_s"], event["windows"]) for event in events] == [
        (code, one.start / 32000, one.end / 32000, one.windows) for code, one in zip(codes, found, strict=True)
    ]
