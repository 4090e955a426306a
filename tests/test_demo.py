"""The demo: it finds its birds on every machine, its files are what the exporter makes, and its training runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer.testing

from edgebird import demo
from edgebird.bundle import GOLDEN_FILE, open_bundle, read_golden
from edgebird.cli.app import make_app
from edgebird.events import Event
from edgebird.export.families.folds import windows
from edgebird.runtimes import open_runtime
from edgebird.verification import verify
from tests.conftest import require

MEGABYTE = 1_000_000


def sizes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def covers(event: Event, bird: demo.Calls) -> bool:
    return event["code"] == bird.code and event["start_s"] < bird.end_s and event["end_s"] > bird.start_s


def run_demo(out: Path) -> typer.testing.Result:
    return typer.testing.CliRunner().invoke(make_app(), ["demo", "--out", str(out)])


def test_a_clone_stays_small() -> None:
    assert all(sizes(fold) <= 4 * MEGABYTE for fold in demo.FOLDS.iterdir())
    assert sizes(demo.BUNDLE) <= 11 * MEGABYTE
    assert sizes(demo.RECORDING.parent) <= 15 * MEGABYTE
    assert demo.RECORDING.stat().st_size <= MEGABYTE


def test_the_demo_runs_where_torch_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare Jetson or Pi: the bundle that comes with edgebird, proven there, and the birds in their places."""
    require("onnxruntime")
    monkeypatch.setitem(sys.modules, "edgebird.export.exporter", None)
    ended = run_demo(tmp_path / "new" / "demo")
    assert ended.exit_code == 0, ended.output
    assert "taking the bundle that comes with edgebird" in ended.stderr
    assert "Never survey birds with it" in ended.stderr
    assert "nobody can tell" in ended.stdout
    assert "edgebird export exp105_eca_nfnet_l0/fold_0_model.bin --out birds" in ended.stderr
    events = [json.loads(line) for line in (tmp_path / "new/demo/detections.jsonl").read_text().splitlines()]
    assert demo.differences([event for event in events if event["event"] == "detection"]) == []
    assert events[-1]["event"] == "summary"
    assert open_bundle(tmp_path / "new/demo/bundle").card == open_bundle(demo.BUNDLE).card
    for bird in demo.calls():
        assert bird.common_name in ended.stdout
    assert "x real time" in ended.stdout
    assert "false alarm" not in ended.stdout


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that was run without torch, and then with it."""
    require("torch")
    require("onnxruntime")
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "edgebird.export.exporter", None)
        assert run_demo(out).exit_code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "golden_windows", lambda: read_golden(demo.BUNDLE / GOLDEN_FILE))
        ended = run_demo(out)
    assert ended.exit_code == 0, ended.output
    assert "largest score difference" in ended.stderr
    assert "taking the bundle" not in ended.stderr, "nothing was exported"
    return out


def test_the_demo_exports_where_torch_is_installed_and_can_be_repeated(repeated: Path) -> None:
    assert {path.name for path in repeated.iterdir()} == {"bundle", "detections.jsonl"}


def test_the_demo_does_not_overwrite_a_bundle_of_other_birds(tmp_path: Path, bundle_copy: Path) -> None:
    card = (bundle_copy / "card.json").read_bytes()
    assert bundle_copy == tmp_path / "bundle"
    ended = run_demo(tmp_path)
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "is not of the demo" in ended.stderr
    assert (bundle_copy / "card.json").read_bytes() == card


def test_an_engine_that_does_not_exist_is_said_before_anything_is_written(tmp_path: Path) -> None:
    ended = typer.testing.CliRunner().invoke(make_app(), ["demo", "--runtime", "warp", "--out", str(tmp_path / "new")])
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "unknown runtime 'warp'" in ended.stderr
    assert not (tmp_path / "new").exists()


def test_the_demo_does_not_overwrite_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "thesis.tex").write_text("years of work")
    ended = run_demo(tmp_path)
    assert ended.exit_code == 1
    assert ended.stderr.splitlines()[-1].startswith("error: ")
    assert (tmp_path / "bundle" / "thesis.tex").read_text() == "years of work"


def test_every_bird_of_the_recording_is_expected_where_it_calls_and_nowhere_else() -> None:
    """The model wrote what is expected, people marked when birds call. One detection nobody can check."""
    birds = [bird for bird in demo.calls() if bird.code and bird.certain]
    assert {bird.code for bird in birds} == {"comcuc", "eurbla", "comyel"}
    expected = demo.expected()
    for bird in birds:
        assert any(covers(event, bird) for event in expected)
    unexplained = [event for event in expected if not any(covers(event, bird) for bird in birds)]
    assert [(event["code"], event["start_s"], event["end_s"]) for event in unexplained] == [("eurbla", 0.0, 12.5)]
    (doubtful,) = [bird for bird in demo.calls() if not bird.certain]
    assert covers(unexplained[0], doubtful)


def test_differences_say_what_differs() -> None:
    (first, *rest) = demo.expected()
    assert demo.differences([first, *rest]) == []
    assert demo.differences(rest)[0].startswith(f"missed {first['code']} at ")
    assert "instead of" in demo.differences([{**first, "score": first["score"] - 0.1}, *rest])[0]
    (line,) = demo.differences([first, *rest, {**first, "start_s": 99.0, "end_s": 104.0}])
    assert line.startswith("unexpected ")


def test_the_shipped_bundle_is_what_the_exporter_makes_of_the_folds(repeated: Path) -> None:
    """Else the demo shows another model with torch than without. Constants may differ by rounding between machines."""
    onnx = require("onnx")
    made, shipped = open_bundle(repeated / "bundle"), open_bundle(demo.BUNDLE)
    for field in ("labels", "folds", "db_floor", "images", "input", "output", "sample_rate"):
        assert getattr(made.card, field) == getattr(shipped.card, field), field
    np.testing.assert_array_equal(made.golden().audio, shipped.golden().audio)
    np.testing.assert_allclose(made.golden().scores, shipped.golden().scores, rtol=0, atol=1e-9)
    graphs = [onnx.load(bundle.model()).graph for bundle in (made, shipped)]
    nodes = [[(n.op_type, list(n.input), list(n.output)) for n in graph.node] for graph in graphs]
    assert nodes[0] == nodes[1]
    tensors = [{t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer} for graph in graphs]
    assert tensors[0].keys() == tensors[1].keys()
    for name, value in tensors[0].items():
        np.testing.assert_allclose(value, tensors[1][name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_trained_folds_agree_with_the_original_network_here() -> None:
    require("onnxruntime")
    for result in verify(open_bundle(demo.BUNDLE), "ort-cpu"):
        assert result.passed
        assert result.parity.top1_windows >= 4, "a network that hears nothing proves nothing"


def test_other_sounds_get_low_scores() -> None:
    """Silence, noise and a steady tone are no birds."""
    require("onnxruntime")
    runtime = open_runtime(open_bundle(demo.BUNDLE), "ort-cpu")
    random = np.random.default_rng(0)
    time = np.arange(160_000) / 32_000
    sounds = [np.zeros(160_000), random.normal(0, 0.01, 160_000), 0.1 * np.sin(2 * np.pi * 1000 * time)]
    for sound in sounds:
        assert runtime.infer(sound.astype(np.float32)[None]).max() < 0.3
    runtime.close()


@pytest.mark.slow
def test_the_training_runs_and_its_checkpoint_is_one_of_ours(tmp_path: Path) -> None:
    """Who wants another demo must find a script that works: a few steps on noise in place of the recordings."""
    torch = require("torch")
    from edgebird.export.families.folds.experiments import EXPERIMENTS
    from edgebird.export.training import train
    from edgebird.export.training.recordings import RECORDINGS
    from tests.seeded import loaded

    random = np.random.default_rng(0)
    for recording in RECORDINGS:
        path = tmp_path / recording.local
        soundfile.write(path, random.normal(0, 0.1, 48_000 * 31), 48_000, format=path.suffix[1:].upper())
    before = torch.get_num_threads()
    for name in ("exp105", "exp107"):
        model = train.train(tmp_path, EXPERIMENTS[name], seed=1, steps=2)
        path = tmp_path / name / "fold_0_model.bin"
        train.save(path, model, 2)
        assert path.stat().st_size < 4 * MEGABYTE
        fold = loaded([path])
        assert fold.sources[0].experiment == name
        assert fold.models[0].architecture == train.narrow_architecture()
    torch.set_num_threads(before)


def test_scenes_tell_what_is_heard_in_them(tmp_path: Path) -> None:
    """A wrong truth trains a wrong network: at any speed a label's tone sounds where its calls are told, only there."""
    from edgebird.export.training.recordings import LABELS, Recording
    from edgebird.export.training.scenes import SceneMaker

    hertz = dict(zip(LABELS, (400, 1500, 5000), strict=True))
    recordings = []
    for label in LABELS:
        samples = np.zeros(320_000, np.float32)
        samples[128_000:192_000] = 0.5 * np.sin(2 * np.pi * hertz[label] * np.arange(64_000) / 32_000)
        soundfile.write(tmp_path / f"{label}.wav", samples, 32_000)
        calls = {label: ((4.0, 6.0),)}
        recordings.append(Recording(label, f"{label}.wav", ("", ""), "", "train", calls, quiet=((0.0, 3.5),)))
    maker = SceneMaker(recordings, tmp_path, seed=3)
    rooms = 16_000 + 3_200  # an echo, and the edges
    for label in LABELS * 20:
        clip = maker._call_clip(label)
        assert list(clip.calls) == [label]
        told = np.zeros(len(clip.audio), bool)
        for start, end in clip.calls[label]:
            told[max(0, start - 3_200) : end + rooms] = True
        assert np.square(clip.audio[~told]).sum() < 1e-3 * np.square(clip.audio).sum()
        (start, end), *_ = clip.calls[label]
        spectrum = np.abs(np.fft.rfft(clip.audio[start:end]))
        peak = np.argmax(spectrum) * 32_000 / (end - start)
        assert peak == pytest.approx(hertz[label], rel=0.08)


def test_what_nobody_can_tell_does_not_count() -> None:
    from edgebird.export.training.recordings import CUCKOO, LABELS
    from edgebird.export.training.scenes import HEARD_S, _certain, _silence_a_part

    assert _certain(CUCKOO, HEARD_S[CUCKOO], {CUCKOO})  # heard is heard
    assert not _certain(CUCKOO, HEARD_S[CUCKOO] / 2, set())
    assert not _certain(CUCKOO, 0.0, {CUCKOO})
    assert _certain(CUCKOO, 0.0, set())
    mix, called = np.ones(160_000, np.float32), {LABELS[0]: 64_000.0, LABELS[1]: 0.0}
    _silence_a_part(mix, np.random.default_rng(0), called)
    assert 8_000 <= (mix == 0).sum() < 128_000
    assert called == {LABELS[0]: 1.0, LABELS[1]: 0.0}, "some of it, nobody can tell how much"
