"""Embeddings: what the network makes of sound, of the windows of detect, and found again by what sounds alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer.testing
from typer.testing import Result

from edgebird.bundle import Bundle
from edgebird.card import Tensor
from edgebird.cli.app import make_app
from edgebird.errors import ExportError
from tests.conftest import require
from tests.foreign import RATE, amplitudes, scene, tone_bundle

EMBEDDED = {"embeddings": Tensor("birds", ("batch", 3))}  # what it scores, under another name


def edgebird(*arguments: object) -> Result:
    return typer.testing.CliRunner().invoke(make_app(), [str(argument) for argument in arguments])


def rows(path: Path) -> list[dict[str, Any]]:
    parquet = require("pyarrow.parquet")
    return parquet.read_table(path).to_pylist()  # type: ignore[no-any-return]


def test_every_window_of_detect_has_its_row(tmp_path: Path) -> None:
    """With its times, of the channel that was asked for, or of each; a file of another kind is kept."""
    require("pyarrow")
    bundle = tone_bundle(tmp_path / "bundle", outputs=EMBEDDED)
    low, high = scene(12, [(0, 0.8, 0, 12)]), scene(12, [(2, 0.4, 0, 12)])
    soundfile.write(tmp_path / "20230524_153000.wav", np.stack([low, high], axis=1), RATE)
    out = tmp_path / "birds.parquet"
    given = ("embed", tmp_path / "20230524_153000.wav", "--bundle", bundle.path, "--out", out)
    ended = edgebird(*given, "--channel", 2)
    assert ended.exit_code == 0, ended.output
    found = rows(out)
    assert [(row["start_s"], row["end_s"]) for row in found] == [(0, 5), (2.5, 7.5), (5, 10), (7.5, 12)]
    assert found[1]["time"].startswith("2023-05-24T15:30:02.500")
    wanted = amplitudes(high[None, : 5 * RATE].astype(np.float64))[0]
    assert found[0]["embedding"] == pytest.approx(wanted, abs=1e-4)
    assert {row["channel"] for row in found} == {2}
    assert "12.0 s, 4 windows" in ended.output
    each = edgebird(*given, "--channel", "each")
    assert each.exit_code == 0, each.output
    assert [(row["channel"], row["start_s"], np.argmax(row["embedding"])) for row in rows(out)] == [
        *((1, start, 0) for start in (0, 2.5, 5, 7.5)),
        *((2, start, 2) for start in (0, 2.5, 5, 7.5)),
    ]
    before = out.read_bytes()
    for audio in (tmp_path / "not there.wav", tmp_path / "bundle" / "card.json"):
        refused = edgebird("embed", audio, *given[2:])
        assert (refused.exit_code, out.read_bytes()) == (1, before), "a file without rows takes the place of none"
        assert "nothing is written" in refused.output
    assert "hop nan s: wanted" in edgebird(*given, "--hop", "nan").output
    refused = edgebird(*given, "--runtime", "null")
    assert (refused.exit_code, out.read_bytes()) == (2, before), "zeros take the place of embeddings"
    out.write_text("my notes\n")
    assert edgebird(*given).exit_code == 1
    assert out.read_text() == "my notes\n"
    assert not list(tmp_path.glob(".edgebird-*"))


def test_search_finds_what_sounds_alike_with_its_time(tmp_path: Path) -> None:
    """A low tone among others, however loud; a file of another model is refused, not searched."""
    require("usearch"), require("pyarrow")
    bundle = tone_bundle(tmp_path / "bundle", outputs=EMBEDDED)
    day, quiet = scene(40, [(1, 0.5, 0, 20), (0, 0.3, 20, 25), (2, 0.6, 25, 40)]), scene(40, [(2, 0.2, 0, 40)])
    soundfile.write(tmp_path / "day.wav", np.stack([quiet, day], axis=1), RATE)
    soundfile.write(tmp_path / "query.wav", scene(5, [(0, 0.9, 0, 5)]), RATE)
    out = tmp_path / "day.parquet"
    made = edgebird(
        "embed", tmp_path / "day.wav", "--bundle", bundle.path, "--out", out, "--hop", 5, "--channel", "each"
    )
    assert made.exit_code == 0, made.output
    given = ("search", tmp_path / "query.wav", "--in", out, "--count", 2, "--json")
    ended = edgebird(*given, "--bundle", bundle.path)
    assert ended.exit_code == 0, ended.output
    first, second = (json.loads(line) for line in ended.stdout.splitlines())
    assert (first["channel"], first["start_s"], first["end_s"]) == (2, 20, 25)
    assert "day.wav, channel 2  20 to 25 s" in edgebird(*given[:-1], "--bundle", bundle.path).stdout
    assert "detections" not in ended.stderr
    assert first["similarity"] == pytest.approx(1, abs=1e-3)
    assert second["similarity"] < 0.5
    other = tone_bundle(tmp_path / "other", outputs=EMBEDDED, activation="sigmoid")
    refused = edgebird(*given, "--bundle", other.path)
    assert refused.exit_code == 2
    assert "of another model" in refused.output
    without = tone_bundle(tmp_path / "without")
    assert "--embeddings" in edgebird(*given, "--bundle", without.path).output


def test_folds_give_their_features_side_by_side_in_their_order() -> None:
    """What each head reads; a graph without heads is refused, and not given an output of something else."""
    onnx = require("onnx")
    require("torch")
    from edgebird.export import graph

    floats, audio = onnx.TensorProto.FLOAT, onnx.helper.make_tensor_value_info("audio", 1, ["batch", 2])
    scores = onnx.helper.make_tensor_value_info("scores", floats, ["batch", 2])
    weight = onnx.helper.make_tensor("weight", floats, [2, 2], [1, 2, 3, 4])
    nodes = [
        onnx.helper.make_node("Neg", ["audio"], ["negative"], name="fold.1/pool/Neg"),
        onnx.helper.make_node("Gemm", ["audio", "weight"], ["one"], name="fold.0/head/linear"),
        onnx.helper.make_node("Gemm", ["negative", "weight"], ["other"], name="fold.1/head/linear"),
        onnx.helper.make_node("Add", ["one", "other"], ["scores"], name="folds/Add"),
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "folds", [audio], [scores], [weight]),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=10,
    )
    made = graph.finish(graph.with_embeddings(model), {})
    assert graph.embeddings_width(made) == 4
    from edgebird.runtimes.ort_session import session_of

    (found,) = session_of(made.SerializeToString()).run(["embeddings"], {"audio": np.float32([[1, 2]])})
    assert found.tolist() == [[1, 2, -1, -2]]
    made.graph.node[1].name = made.graph.node[2].name = "other"
    with pytest.raises(ExportError, match="no heads"):
        graph.with_embeddings(made)


@pytest.mark.slow
def test_an_export_with_embeddings_scores_as_one_without(
    narrow_folds: dict[str, Path], bundle: Bundle, tmp_path: Path
) -> None:
    """The same graph and one node more; features as the original's pooling gives them, or it is not written."""
    onnx = require("onnx")
    from edgebird.export.exporter import ExportRequest, export_bundle
    from edgebird.runtimes import RuntimeOptions, open_runtime

    told = list[str]()
    made = export_bundle(ExportRequest((narrow_folds["exp105"],), tmp_path / "with", embeddings=True), told.append)
    assert any(line.startswith("embed ") for line in told)
    graphs = [onnx.load(one.model()).graph for one in (made, bundle)]
    assert [one.name for one in graphs[1].output] == ["scores"]
    assert [node for node in graphs[0].node if node.name != "embeddings"] == list(graphs[1].node)
    windows = made.golden().windows()[:2]
    runtime = open_runtime(made, "ort-cpu", RuntimeOptions(outputs=("embeddings",)))
    outputs = runtime.infer_outputs(windows)
    assert outputs["embeddings"].shape == (2, *map(int, made.card.outputs["embeddings"].shape[1:]))
    assert outputs["scores"] == pytest.approx(open_runtime(bundle, "ort-cpu").infer(windows), abs=1e-6)
