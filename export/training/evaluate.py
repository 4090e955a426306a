"""Judge bundles of the demo folds by recordings they were not trained on.

    python -m edgebird.export.training.evaluate DIR BUNDLE... [--other FILE...]

DIR holds the recordings; `--other` takes recordings in which no label is heard. Every window of the recordings, at
detection's hop, is scored by the bundle's graph in ONNX Runtime. A label is heard in a window with enough of its
calls, silent in one with none, and not counted between (`scenes.HEARD_S`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgebird.bundle import open_bundle
from edgebird.export.families.folds.experiments import SAMPLE_RATE, WINDOW_SAMPLES
from edgebird.export.training.recordings import LABELS, Recording, recordings
from edgebird.export.training.scenes import HEARD_S
from edgebird.runtimes import Runtime, open_runtime
from edgebird.types import FloatArray

HOP = round(2.5 * SAMPLE_RATE)
THRESHOLDS = (0.3, 0.5)
_SHOWN = 11  # windows of a recording whose scores are all shown


@dataclass(frozen=True)
class Judged:
    """The windows of a recording. scores: [windows, labels]. seconds: of each label's calls, NaN where unknown."""

    name: str
    scores: FloatArray
    seconds: FloatArray

    def heard(self, label: int) -> FloatArray:
        """Scores of a label in the windows in which it is heard."""
        scores: FloatArray = self.scores[self.seconds[:, label] >= HEARD_S[LABELS[label]], label]
        return scores

    def silent(self, label: int) -> FloatArray:
        """Scores of a label in the windows in which it is not heard."""
        scores: FloatArray = self.scores[self.seconds[:, label] == 0, label]
        return scores


def judge(recording: Recording, folder: Path, runtime: Runtime) -> Judged:
    """Score a recording's windows; the last is padded with zeros."""
    audio = recording.read(folder)
    starts = range(0, max(1, len(audio) - WINDOW_SAMPLES + HOP), HOP)
    scores = [_scores(audio[start : start + WINDOW_SAMPLES], runtime) for start in starts]
    seconds = [[_seconds(recording, label, start / SAMPLE_RATE) for label in LABELS] for start in starts]
    return Judged(recording.name, np.array(scores), np.array(seconds, np.float32))


def judge_between(recording: Recording, folder: Path, runtime: Runtime) -> Judged:
    """Score what lies between a recording's calls, each span a window padded with zeros: the place without the bird."""
    audio = recording.read(folder)
    spans = [audio[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for begin, end in recording.quiet]
    scores = [_scores(span[:WINDOW_SAMPLES], runtime) for span in spans]
    return Judged(
        f"{recording.name}, between the calls", np.array(scores), np.zeros((len(spans), len(LABELS)), np.float32)
    )


def _scores(audio: FloatArray, runtime: Runtime) -> FloatArray:
    window = np.zeros((1, WINDOW_SAMPLES), np.float32)
    window[0, : len(audio)] = audio
    scores: FloatArray = runtime.infer(window)[0]
    return scores


def _seconds(recording: Recording, label: str, start: float) -> float:
    if label in recording.unknown:
        return float("nan")
    end = start + WINDOW_SAMPLES / SAMPLE_RATE
    return sum(max(0.0, min(e, end) - max(b, start)) for b, e in recording.calls.get(label, ()))


def _summary(judged: Sequence[Judged]) -> Iterator[str]:
    yield (
        "| label | windows with it | lowest score | "
        + " | ".join(f"found at {t:g}" for t in THRESHOLDS)
        + (" | windows without it | highest score | " + " | ".join(f"false at {t:g}" for t in THRESHOLDS) + " |")
    )
    yield "|---" * (5 + 2 * len(THRESHOLDS)) + "|"
    for index, label in enumerate(LABELS):
        heard = np.concatenate([one.heard(index) for one in judged])
        silent = np.concatenate([one.silent(index) for one in judged])
        cells = [label, f"{len(heard)}", f"{heard.min():.2f}", *(f"{(heard >= t).sum()}" for t in THRESHOLDS)]
        cells += [f"{len(silent)}", f"{silent.max():.2f}", *(f"{(silent >= t).sum()}" for t in THRESHOLDS)]
        yield f"| {' | '.join(cells)} |"


def _windows(judged: Sequence[Judged]) -> Iterator[str]:
    yield f"| recording | {' | '.join(LABELS)} |"
    yield "|---" * (1 + len(LABELS)) + "|"
    for one in judged:
        yield f"| {one.name} | {' | '.join(_cell(one, index) for index in range(len(LABELS)))} |"


def _cell(one: Judged, label: int) -> str:
    """The scores of a label in the windows of a recording, bold where it is heard; in short if there are many."""
    scores, heard = one.scores[:, label], one.seconds[:, label] >= HEARD_S[LABELS[label]]
    if np.isnan(one.seconds[:, label]).any():
        return f"nobody can tell; highest {scores.max():.2f}"
    if len(scores) > _SHOWN and not heard.any():
        return f"{len(scores)} windows: highest {scores.max():.2f}, {(scores >= THRESHOLDS[0]).sum()} false"
    return " ".join(
        f"**{score:.2f}**" if is_heard else f"{score:.2f}" for score, is_heard in zip(scores, heard, strict=True)
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Judge bundles of the demo folds; prints Markdown.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the recordings, as fetched")
    parser.add_argument("bundles", type=Path, metavar="BUNDLE", nargs="+")
    parser.add_argument("--other", type=Path, metavar="FILE", nargs="*", default=[], help="recordings of other birds")
    args = parser.parse_args()
    judged_by = [*recordings("test")]
    judged_by += [Recording(p.stem, str(p.absolute()), ("", ""), "", "test", {}) for p in args.other]
    for path in args.bundles:
        bundle = open_bundle(path)
        runtime = open_runtime(bundle, "ort-cpu")
        judged = [judge(recording, args.folder, runtime) for recording in judged_by]
        judged += [judge_between(r, args.folder, runtime) for r in judged_by if r.calls and r.quiet]
        runtime.close()
        experiments = ", ".join(fold.experiment for fold in bundle.card.folds)
        print(f"\n## {experiments}\n", *_summary(judged), "", *_windows(judged), sep="\n")


if __name__ == "__main__":
    main()
