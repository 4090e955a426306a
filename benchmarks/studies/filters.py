"""What gain and filters do to the scores of a model, for its own recordings.

    python -m edgebird.benchmarks.studies.filters BUNDLE AUDIO...

Every score of a window from the threshold on, as the recording is, against the same score with the sound made louder or
filtered as `--gain`, `--high-pass` and `--low-pass` do it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgebird.bundle import open_bundle
from edgebird.conditioning import Conditioner, SoundOptions
from edgebird.detection import THRESHOLD, Analysis, settings_for, windows_of
from edgebird.runtimes import Runtime, RuntimeOptions, open_runtime
from edgebird.sources import FileSource
from edgebird.types import FloatArray, Gap

_WAYS = {
    **{f"gain {gain}": SoundOptions(gain_db=gain) for gain in (12, 6, -12)},
    **{f"high-pass {hertz}": SoundOptions(high_pass_hz=hertz) for hertz in (100, 200, 500, 1000)},
    **{f"low-pass {hertz}": SoundOptions(low_pass_hz=hertz) for hertz in (12000, 8000, 5000)},
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("audio", nargs="+", type=Path, metavar="AUDIO")
    parser.add_argument("--runtime", default="ort-cpu")
    given = parser.parse_args()
    runtime = open_runtime(open_bundle(given.bundle), given.runtime, RuntimeOptions())
    plain = _scores(runtime, given.audio, None)
    heard = plain >= THRESHOLD
    print(f"{len(plain)} windows, {heard.sum()} scores from {THRESHOLD:g} on, {runtime.name}")
    print("| | median change | largest change | no longer there | new |\n|---|---|---|---|---|")
    for name, options in _WAYS.items():
        scores = _scores(runtime, given.audio, options)
        change = np.abs(scores - plain)[heard]
        lost, new = (heard & (scores < THRESHOLD)).sum(), (~heard & (scores >= THRESHOLD)).sum()
        print(f"| {name} | {np.median(change):.3f} | {change.max():.3f} | {lost} | {new} |", flush=True)
    runtime.close()


def _scores(runtime: Runtime, audio: Sequence[Path], options: SoundOptions | None) -> FloatArray:
    """Scores of all windows, float32 [windows, classes]."""
    card = runtime.card
    found = []
    for path in audio:
        blocks = FileSource(path, card.sample_rate).blocks()
        heard = map(Conditioner(options, card.sample_rate).apply, blocks) if options else blocks
        windows = windows_of(Analysis(card, settings_for(card)), heard)
        found += [runtime.infer(one.samples[None])[0] for one in windows if not isinstance(one, Gap)]
    return np.stack(found)


if __name__ == "__main__":
    main()
