"""The folds that are trained to be measured on: what is trained goes on where it was stopped, and can be exported."""

# ruff: noqa: E402  what follows needs packages that a device has not
from __future__ import annotations

import csv
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import require

torch = require("torch")

from edgebird.errors import EdgebirdError
from edgebird.export.checkpoint import read_checkpoint
from edgebird.export.families.folds.experiments import EXPERIMENTS, SAMPLE_RATE
from edgebird.export.training.folds import Training, TrainingPlan, finish, train
from edgebird.export.training.material import CODES, LIST, Take, TrainingMaterial, load_material, save_material
from edgebird.export.training.mixing import Drawer, SceneMixer
from edgebird.export.training.packages import resources
from edgebird.export.training.scaled import fresh, image, scaled_architecture
from edgebird.export.training.soundscapes import CHORUSES, PlaceSounds, made, sounds_of
from tests.seeded import full_architecture, loaded

PLAN = TrainingPlan("exp108", 0.125, seed=3, steps=3, batch=2, rate=1e-3)


def material() -> TrainingMaterial:
    """Of each label a tone to train on and one kept back, and noise of nobody."""
    length = SAMPLE_RATE
    time = np.arange(length) / SAMPLE_RATE
    sounds, clips = [], []
    for index, code in enumerate(CODES):
        for role in ("train", "test"):
            clips.append(Take(f"{code} {role}", role, len(sounds) * length, length, {code: ((0, length),)}, (), ()))
            sounds.append(np.sin(2 * np.pi * (400 + 300 * index) * time))
    for role in ("train", "test"):
        clips.append(Take(f"noise {role}", role, len(sounds) * length, length, {}, ((0, length),), ("comcuc",)))
        sounds.append(np.random.default_rng(0).normal(0, 0.2, length))
    audio = np.round(np.concatenate(sounds).clip(-1, 1) * 32000).astype(np.int16)
    return TrainingMaterial(audio, tuple(clips))


def trained(folder: Path) -> Training:
    """Trained in `folder`."""
    training = Training(PLAN, material(), torch.device("cpu"))
    train(training, folder / "resume.pt", every=1)
    return training


def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Else a fold trained in two sessions would be one that nobody can make again."""
    whole = trained(tmp_path).model.state_dict()
    stopped = Training(PLAN, material(), torch.device("cpu"))
    stopped.learn(next(stopped.draws()))
    stopped.save(tmp_path / "resume.pt")
    again = trained(tmp_path)
    assert again.step == PLAN.steps
    assert all(torch.equal(tensor, whole[name]) for name, tensor in again.model.state_dict().items())


def test_another_training_does_not_go_on_from_a_foreign_checkpoint(tmp_path: Path) -> None:
    """A fold of two seeds or widths would be told as one."""
    training = Training(PLAN, material(), torch.device("cpu"))
    training.save(tmp_path / "resume.pt")
    training.plan = TrainingPlan("exp108", 0.125, seed=4, steps=3, batch=2, rate=1e-3)
    with pytest.raises(EdgebirdError, match="take another --out"):
        training.resume(tmp_path / "resume.pt")


@pytest.mark.parametrize("half", [False, True])
def test_a_trained_fold_is_a_checkpoint_that_is_exported(tmp_path: Path, half: bool) -> None:
    """The exporter must take it as it takes the original files, also in half precision."""
    training = trained(tmp_path)
    finish(training, material(), tmp_path, half)
    (path,) = tmp_path.glob("exp108_eca_nfnet_l0/fold_2_model.bin")
    folds = loaded([path])
    audio = torch.from_numpy(np.random.default_rng(1).normal(0, 0.01, (2, 160_000)).astype(np.float32))
    with torch.no_grad():
        difference = (folds.models[0](audio) - training.model(audio)).abs().max()
    assert difference < (0.02 if half else 1e-6)
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        assert [row["code"] for row in csv.DictReader(file)] == list(CODES)


def test_a_fold_begins_with_what_another_has_learned_and_keeps_its_own_spectrogram(tmp_path: Path) -> None:
    """As the original's folds began with one network's weights."""
    first = trained(tmp_path)
    finish(first, material(), tmp_path, half=False)
    fold = read_checkpoint(tmp_path / "exp108_eca_nfnet_l0" / "fold_2_model.bin")
    pcen, own = (Training(replace(PLAN, experiment="exp107"), material(), torch.device("cpu")) for _ in range(2))
    pcen.begin_with(fold)
    for name, tensor in pcen.model.state_dict().items():
        of = first if name.startswith(("backbone", "head", "global_pool")) else own
        turned = of is first and tensor.ndim == 4
        assert torch.equal(tensor.mT if turned else tensor, of.model.state_dict()[name]), name
    image = torch.rand(1, 1, 96, 128)
    with torch.no_grad():
        wanted = first.model.head(first.model.global_pool(first.model.backbone(image)))
        found = pcen.model.head(pcen.model.global_pool(pcen.model.backbone(image.mT)))
    assert torch.allclose(found, wanted, atol=1e-5), "it sees in its image what the other saw in its own"
    wide = Training(replace(PLAN, width=0.25), material(), torch.device("cpu"))
    with pytest.raises(EdgebirdError, match="no fold of this width"):
        wide.begin_with(fold)


def test_full_width_is_the_original_network() -> None:
    """Times of a network of other shapes would not be the original's."""
    assert scaled_architecture(1.0, 264) == full_architecture()


def test_scenes_hold_what_they_say_and_are_the_same_again() -> None:
    """A label that is silent, or a scene that cannot be made again, would teach nonsense."""
    recordings = material()
    drawer, mixer = Drawer(recordings, "train", seed=5), SceneMixer(recordings, 5, torch.device("cpu"))
    audio, heard, counts = mixer.mix(0, drawer.draw(0, 6))
    again, _, _ = mixer.mix(0, drawer.draw(0, 6))
    assert torch.equal(audio, again)
    assert audio.shape == (6, 160_000)
    assert audio.abs().max() <= 1
    assert heard.any()
    assert (counts[heard == 1] == 1).all()


def test_pcen_as_one_product_is_the_recursion() -> None:
    """Else exp107 would be trained through another frontend than it is exported with."""
    model = fresh(EXPERIMENTS["exp107"], scaled_architecture(0.125, 2))
    audio = torch.from_numpy(np.random.default_rng(2).normal(0, 0.05, (1, 160_000)).astype(np.float32))
    with torch.no_grad():
        assert (image(model, audio) - model.image(audio)).abs().max() < 1e-5


def test_material_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """The marks of calls belong to samples: one sample lost shifts them all."""
    written = material()
    save_material(tmp_path / "material.npz", written)
    read = load_material(tmp_path / "material.npz")
    assert np.array_equal(read.audio, written.audio)
    assert read.clips == written.clips


def test_the_list_keeps_recordings_back() -> None:
    """A recording that is trained on and judged by makes a fold look better than it is."""
    with LIST.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    whole = {
        role: {row["sha256"] for row in rows if row["role"] == role and not row["part"]} for role in ("train", "test")
    }
    assert not whole["train"] & whole["test"]
    called = {entry.split()[0] for row in rows for entry in row["calls"].split(";") if entry.strip()}
    assert called == set(CODES)
    assert all(row["licence"] for row in rows)


def test_a_file_of_a_qt_resource_file_is_found_by_its_path() -> None:
    """Sounds of GCompris are in such files."""
    names = b"".join(struct.pack(">HI", len(n), 0) + n.encode("utf-16-be") for n in ("a", "b.ogg"))
    packed = struct.pack(">I", 5) + zlib.compress(b"sound")
    data = struct.pack(">I", len(packed)) + packed
    nodes = [(0, 2, 1, 1), (0, 2, 1, 2), (8, 1, 0, 0)]  # name, flags, then children and the first, or locale and data
    tree = b"".join(struct.pack(">IHII", *node) for node in nodes)
    at = 20
    header = struct.pack(">4s4I", b"qres", 1, at, at + len(tree), at + len(tree) + len(data))
    assert dict(resources(header + tree + data + names)) == {"a/b.ogg": b"sound"}


def test_sound_of_a_place_has_as_many_birds_as_it_says() -> None:
    """A saving measured where birds are rare would be another where they are not."""
    tone = np.sin(np.arange(SAMPLE_RATE) * 0.3).astype(np.float32)
    sounds = PlaceSounds([tone], [], [np.zeros(10 * SAMPLE_RATE, np.float32)])
    for per_cent, birds in ((0, 0), (25, 3), (100, 12)):
        audio = made(sounds, 60, per_cent, np.random.default_rng(0)).reshape(12, -1)
        assert int((np.abs(audio).max(axis=1) > 300).sum()) == birds
    with pytest.raises(EdgebirdError, match="no call for the birds"):
        made(PlaceSounds([], [tone], sounds.noises), 60, 25, np.random.default_rng(0))


def test_nothing_of_a_call_is_in_what_has_no_bird() -> None:
    """A pause between two calls is cut as it was marked, a call with what is around it."""
    length = 4 * SAMPLE_RATE
    audio = np.zeros(length, np.int16)
    audio[:SAMPLE_RATE] = audio[2 * SAMPLE_RATE : 3 * SAMPLE_RATE] = 9000
    pause = ((SAMPLE_RATE, 2 * SAMPLE_RATE),)
    clip = Take("a", "train", 0, length, {"comcuc": ((2 * SAMPLE_RATE, 3 * SAMPLE_RATE),)}, pause, ())
    found = sounds_of(TrainingMaterial(audio, (clip,)), "train", 0)
    assert [float(np.abs(part).max()) for part in found.animals] == [0.0]
    assert [len(part) for part in found.calls] == [round(1.6 * SAMPLE_RATE)]


@pytest.mark.parametrize("name", CHORUSES)
def test_what_birds_sing_in_all_the_time_is_no_noise(name: str) -> None:
    """Else far more windows than are told hold a bird, and a cascade seems to be slow."""
    with LIST.open(encoding="utf-8", newline="") as file:
        assert name in {Path(row["path"]).stem for row in csv.DictReader(file)}
    length = 10 * SAMPLE_RATE
    clips = tuple(Take(one, "test", 0, length, {}, ((0, length),), ()) for one in (name, "river_fast_21"))
    found = sounds_of(TrainingMaterial(np.ones(length, np.int16), clips), "test", 1)
    assert (len(found.noises), len(found.animals)) == (1, 0)
