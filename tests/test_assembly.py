"""From a station's settings to what runs: every precision goes with every output."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from edgebird.bundle import Bundle
from edgebird.errors import BundleError, UsageError
from edgebird.formats import FORMATS
from edgebird.live.assembly import check_settings, make_sinks, runtime_options
from edgebird.parity import BF16_OF, TOLERANCES
from edgebird.settings.keywords import keyword_settings
from edgebird.sinks.clips import ClipSink
from tests.foreign import tone_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    made = tone_bundle(tmp_path / "tones")
    graph = made.card.precisions["fp32"]
    every = dict.fromkeys((name for name in TOLERANCES if name not in BF16_OF), graph)
    return Bundle(made.path, replace(made.card, precisions=every))


@pytest.mark.parametrize(
    ("precision", "form", "clips"), list(itertools.product(TOLERANCES, (None, *FORMATS), (None, "wav", "flac")))
)
def test_a_station_may_have_any_precision_with_any_format_and_clips(
    precision: str, form: str | None, clips: str | None, bundle: Bundle, tmp_path: Path
) -> None:
    """bf16 has no graph of its own: with clips, which name their model, a station did not start."""
    asked = {"precision": precision, "bundle": bundle.path, "format": form, "out": tmp_path / "out"}
    if clips:
        asked |= {"clips": tmp_path / "clips", "clip_format": clips}
    settings = keyword_settings(None, None, {"url": {"pond": "http://a/b"}, **asked})
    check_settings(settings)
    assert runtime_options(settings).precision == precision
    sinks = make_sinks(settings, bundle, "openvino")
    assert any(isinstance(sink, ClipSink) for sink in sinks) is bool(clips)


def test_a_precision_that_the_bundle_lacks_is_told(bundle: Bundle) -> None:
    lacking = Bundle(bundle.path, replace(bundle.card, precisions={"fp32": bundle.card.precisions["fp32"]}))
    with pytest.raises(BundleError, match="no int8 graph in this bundle, it has fp32"):
        lacking.graph_of("int8+bf16")
    assert lacking.graph_of("bf16") is lacking.card.precisions["fp32"]


def test_labels_of_audacity_need_one_source_or_a_folder() -> None:
    settings = keyword_settings(None, None, {"url": ["http://a/b", "http://c/d"], "bundle": "b", "format": "audacity"})
    with pytest.raises(UsageError, match="give --out DIR"):
        check_settings(settings)
