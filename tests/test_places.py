"""Models of places: adopted, proven and asked like any other, and never taken for an ear."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import require

require("onnx")
require("onnxruntime")

from edgebird import places  # noqa: E402
from edgebird.bundle import Bundle  # noqa: E402
from edgebird.card import GEO  # noqa: E402
from edgebird.errors import BundleError, LabelError, RuntimeUnavailableError, UsageError  # noqa: E402
from edgebird.export.adopt.adopter import AdoptRequest, adopt  # noqa: E402
from edgebird.places import probabilities, week_of  # noqa: E402
from edgebird.rarity import season_of  # noqa: E402
from edgebird.runtimes import open_runtime  # noqa: E402
from edgebird.settings.build import recording_settings  # noqa: E402
from edgebird.settings.place import PlaceSettings  # noqa: E402
from edgebird.types import Label  # noqa: E402
from edgebird.verification import verify  # noqa: E402
from tests.adopting import labels_txt, places_model, version3  # noqa: E402
from tests.foreign import tone_bundle  # noqa: E402


@pytest.fixture(scope="module", params=[False, True], ids=["one input", "three inputs"])
def geo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("geo")
    model = places_model(folder / "geo.onnx", request.param)
    return adopt(AdoptRequest(model, folder / "bundle", labels_txt(folder / "labels.txt")))


def test_a_model_of_places_is_recognised_and_proven(geo: Bundle) -> None:
    """With three inputs they are taken by their names, whatever their order in the file."""
    assert (geo.card.kind, geo.card.sample_rate, geo.card.input.shape) == (GEO, 0, ("batch", 3))
    assert [found.passed for found in verify(geo, "ort-cpu")] == [True]


def test_a_place_and_a_week_have_probabilities(geo: Bundle) -> None:
    runtime = open_runtime(geo, "ort-cpu")
    found = probabilities(runtime, 60.2, 24.9, 20)
    other = probabilities(runtime, -1.3, 36.8, 20)
    runtime.close()
    weights = np.random.default_rng(5).standard_normal((3, 6)).astype(np.float32) * np.float32(0.02)
    wanted = 1 / (1 + np.exp(-(np.array([60.2, 24.9, 20]) @ weights)))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found - other).max() > 0.1


@pytest.mark.parametrize(
    ("place", "told"), [((91, 0, 1), "is no place"), ((0, 181, 1), "no place"), ((0, 0, 49), "week 49")]
)
def test_what_is_no_place_is_refused(place: tuple[float, float, int], told: str, geo: Bundle) -> None:
    runtime = open_runtime(geo, "null")
    with pytest.raises(UsageError, match=told):
        probabilities(runtime, *place)
    runtime.close()


def test_an_ear_is_no_model_of_places(tmp_path: Path) -> None:
    labels = labels_txt(tmp_path / "labels.txt")
    bundle = adopt(AdoptRequest(version3(tmp_path / "v3.onnx"), tmp_path / "bundle", labels))
    runtime = open_runtime(bundle, "null")
    with pytest.raises(BundleError, match="hears sound"):
        probabilities(runtime, 0, 0)
    runtime.close()


@pytest.mark.parametrize(
    ("day", "week"), [((1, 1), 1), ((1, 7), 1), ((1, 8), 2), ((1, 22), 4), ((1, 31), 4), ((2, 1), 5), ((12, 31), 48)]
)
def test_weeks_are_birdnets(day: tuple[int, int], week: int) -> None:
    """48 a year: with those of the calendar, a migrant would come a week late in autumn."""
    assert week_of(date(2026, *day)) == week


# ------------------------------------------------------------------------------------------------- as source of [place]
HELSINKI = (60.2, 24.9)
LABELS = (
    Label("comcuc", "Cuculus canorus", "Kuckuck"),
    Label("extinct", "Pinguinus impennis", "Great Auk"),
    Label("comcuc2", "cuculus  Canorus", "song"),
    Label("eurbla", "Turdus merula", "Blackbird"),
)


def test_a_season_is_what_the_model_says_of_each_week_by_scientific_names(
    geo: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The model is opened once for all sources, and closed: a window costs no question."""
    opened = []
    monkeypatch.setattr(places, "open_runtime", lambda *given: opened.append(open_runtime(*given)) or opened[-1])
    (tmp_path / "place.csv").write_text("species,weeks,frequency\nTurdus merula,all,0.5\n")
    settings = PlaceSettings(table=tmp_path / "place.csv", geo=geo.path)
    found = season_of(settings, LABELS, HELSINKI)
    assert found is not None
    assert found is season_of(settings, LABELS, HELSINKI)
    assert len(opened) == 1
    assert list(found.sources) == ["geo", "", "geo", "table"]
    assert "1 of the model's 4 labels have no frequency there and pass as set" in caplog.text
    runtime = open_runtime(geo, "ort-cpu")
    for week in (1, 20, 48):
        cuckoo = probabilities(runtime, *HELSINKI, week)[2]
        np.testing.assert_allclose(found.frequencies[week - 1], [cuckoo, np.nan, cuckoo, 0.5], atol=1e-6)
    runtime.close()
    assert season_of(settings, LABELS, (-1.3, 36.8)) is not found
    with pytest.raises(RuntimeUnavailableError, match="closed"):
        opened[0].infer(np.zeros((1, 3), np.float32))


def test_what_cannot_tell_of_places_is_refused_in_one_line(geo: Bundle, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="none of its 6 species is a label of this model"):
        season_of(PlaceSettings(geo=geo.path), LABELS[1:2], HELSINKI)
    ear = tone_bundle(tmp_path / "ear")
    with pytest.raises(BundleError, match=r"ear hears sound: a model of places is wanted \(edgebird adopt --as geo"):
        season_of(PlaceSettings(geo=ear.path), LABELS, HELSINKI)
    with pytest.raises(BundleError, match="nowhere"):
        season_of(PlaceSettings(geo=tmp_path / "nowhere"), LABELS, HELSINKI)
    with pytest.raises(UsageError, match="latitude and longitude are needed to ask a geographic model"):
        recording_settings({"bundle": tmp_path, "place.geo": geo.path})
    wanted, _ = recording_settings({"bundle": tmp_path, "place.geo": geo.path, "latitude": 60.2, "longitude": 24.9})
    assert (wanted.place, wanted.coordinates) == (PlaceSettings(geo=geo.path), HELSINKI)
