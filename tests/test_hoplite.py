"""A database of perch-hoplite, opened by its own library: recordings, times, vectors and neighbours are right.

Not in CI, as the package brings notebooks and a cloud's clients: `make nightly` has it, in an environment of its own.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import require
from tests.foreign import RATE, amplitudes, scene, tone_bundle
from tests.test_embeddings import EMBEDDED, edgebird

require("perch_hoplite")


@pytest.mark.parametrize("channels", [False, True])
def test_perch_hoplite_finds_what_was_embedded(tmp_path: Path, channels: bool) -> None:
    """What its searches give leads to the second of the recording; labels of people are never overwritten."""
    bundle = tone_bundle(tmp_path / "bundle", outputs=EMBEDDED)
    (tmp_path / "season" / "R07").mkdir(parents=True)
    low = scene(12.5, [(0, 0.8, 0, 5), (1, 0.6, 5, 10), (2, 0.3, 10, 12.5)])
    high = scene(12.5, [(2, 0.9, 0, 12.5)])
    soundfile.write(tmp_path / "season" / "R07" / "20230524_153000.wav", np.stack([low, high], axis=1), RATE)
    soundfile.write(tmp_path / "season" / "short.wav", high[: 5 * RATE], RATE)
    out = tmp_path / "season.hoplite"
    given = ("embed", tmp_path / "season", "--bundle", bundle.path, "--out", out, "--format", "hoplite")
    given = *given, *(("--channel", "each") if channels else ())
    ended = edgebird(*given)
    assert ended.exit_code == 0, ended.output
    refused = edgebird(*given)
    assert (refused.exit_code, "perhaps with labels" in refused.output) == (1, True)
    assert not list(tmp_path.glob(".edgebird-*"))

    from perch_hoplite.db import sqlite_usearch_impl  # behind ONNX Runtime: see `HopliteSink.open`

    database = sqlite_usearch_impl.SQLiteUSearchDB.create(str(out))
    assert [(one.name, one.project) for one in database.get_all_deployments()] == [
        ("R07", "season"), ("season", "season"),
    ]  # fmt: skip
    long, short = database.get_all_recordings()
    assert (long.filename, short.filename) == ("R07/20230524_153000.wav", "short.wav")
    assert long.datetime.replace(tzinfo=None) == datetime(2023, 5, 24, 15, 30)
    assert long.datetime.tzinfo is not None
    (glob,) = database.get_metadata("audio_sources").audio_globs
    assert Path(glob["base_path"], long.filename).is_file()
    assert database.get_metadata("edgebird").graph == bundle.graph_of("fp32").sha256

    windows = database.get_all_windows(include_embedding=True)
    assert database.count_embeddings() == len(windows) == (9 if channels else 5)
    its = [one for one in windows if one.recording_id == long.id]
    spans = [[0, 5], [2.5, 7.5], [5, 10], [7.5, 12.5]]
    assert [one.offsets for one in its] == spans * (1 + channels)
    if channels:
        assert [one.channel for one in its] == [1] * len(spans) + [2] * len(spans)
    heard = low if channels else (low + high) / 2
    wanted = amplitudes(heard[None, 5 * RATE : 10 * RATE].astype(np.float64))[0]
    assert np.asarray(its[2].embedding, np.float32) == pytest.approx(wanted, abs=1e-3)  # it is float16
    for approximate in (True, False):
        found = database.search(np.float32([0, 1, 0]), 2, approximate=approximate)
        best = max(found.search_results, key=lambda one: one.sort_score)
        window = database.get_window(best.window_id)
        assert (window.recording_id, window.offsets) == (long.id, [5, 10])
