"""Two reports compared: what is slower, how sure that is, and what cannot be compared at all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgebird.benchmarks import comparison
from edgebird.benchmarks.figures import Ratio
from edgebird.bundle import Bundle
from edgebird.errors import EdgebirdError, UsageError
from tests.benching import measured
from tests.conftest import require
from tests.foreign import tone_bundle
from tests.test_cli import Command, edgebird

__all__ = ["edgebird"]


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    require("onnxruntime")
    return tone_bundle(tmp_path / "tones")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Read only: what a test changes is a copy."""
    require("onnxruntime")
    return measured(tone_bundle(tmp_path_factory.mktemp("measured") / "tones"))


def altered(report: dict[str, Any], factor: float, **machine: Any) -> dict[str, Any]:
    """The report of a machine whose samples were steady and took `factor` times as long."""
    copy: dict[str, Any] = json.loads(json.dumps(report))
    for run in copy["runs"]:
        run["samples_ms"] = [factor * (10 + 0.01 * (i % 3)) for i in range(len(run["samples_ms"]))]
    copy["machine"] |= machine
    return copy


def test_a_change_is_told_with_its_interval_and_slower_is_an_error(
    edgebird: Command, tones: Bundle, tmp_path: Path
) -> None:
    file = tmp_path / "old.json"
    command = ("bench", tones.path, "--runtime", "ort-cpu", "--seconds", 0)
    assert edgebird(*command, "--json", file).code == 0
    old = json.loads(file.read_text())
    for factor, code, told in ((1e-6, 1, "slower"), (1e6, 0, "faster")):
        file.write_text(json.dumps(altered(old, factor)))
        ended = edgebird(*command, "--compare", file, "--fail-if-slower", "5%")
        assert ended.code == code
        assert re.search(
            rf"^single ort-cpu fp32: \S+% against .* \(95 %: \S+ to \S+%\), {told}", ended.out, re.MULTILINE
        )


@pytest.mark.parametrize(
    ("factor", "slower"), [(1.0, False), (1.04, False), (1.06, True), (0.5, False)], ids=lambda value: str(value)
)
def test_slower_is_slower_by_more_than_the_limit(report: dict[str, Any], factor: float, slower: bool) -> None:
    (one,) = comparison.compare(altered(report, factor), altered(report, 1.0))
    assert one.ratio.value == pytest.approx(factor, rel=1e-3)
    assert one.is_slower(0.05) is slower


def test_two_machines_or_bundles_are_not_compared(edgebird: Command, tones: Bundle, tmp_path: Path) -> None:
    """Such a ratio is a number all the same, and would be believed."""
    report = measured(tones)
    for machine, told in (
        ({"cpu": "Cortex-A78AE"}, "not the same machine: its cpu was 'Cortex-A78AE' then and is"),
        ({"power_mode": "NV Power Mode: 15W"}, "its power mode was 'NV Power Mode: 15W' then and is unknown now"),
    ):
        file = tmp_path / "other.json"
        file.write_text(json.dumps(altered(report, 1.0, **machine)))
        ended = edgebird("bench", tones.path, "--runtime", "ort-cpu", "--seconds", 0, "--compare", file)
        assert (ended.code, ended.out) == (1, "")  # before any time is spent
        assert told in ended.error()
    for audio in ({"files": ["dawn.wav"]}, {"windows": 3}, {"hop_s": 5.0}):
        other = altered(report, 1.0)
        other["audio"] |= audio
        with pytest.raises(EdgebirdError, match=f"not the same audio: its {next(iter(audio))} was "):
            comparison.compare(report, other)
    other = altered(report, 1.0)
    other["bundle"]["sha256"]["fp32"] = "0" * 64
    with pytest.raises(EdgebirdError, match="not the same bundle: its fp32 graph was 0000"):
        comparison.compare(report, other)
    other = altered(report, 1.0)
    other["runs"][0]["threads"] = 7
    with pytest.raises(EdgebirdError, match="no run in common with the earlier report, which has single ort-cpu fp32"):
        comparison.compare(report, other)


@pytest.mark.parametrize(
    ("ratio", "steady", "told"),
    [
        (Ratio(1.1, 1.05, 1.2), True, "+10.0% against the earlier report (95 %: +5.0% to +20.0%), slower"),
        (Ratio(0.5, 0.4, 0.6), True, "-50.0% against the earlier report (95 %: -60.0% to -40.0%), faster"),
        (Ratio(1.1, 0.9, 1.2), True, "+10.0% against the earlier report (95 %: -10.0% to +20.0%), no difference seen"),
        (Ratio(1.1, 1.05, 1.2), False, "slower; one of the two was not steady"),
    ],
    ids=["slower", "faster", "unsure", "unsteady"],
)
def test_a_change_is_called_one_only_where_its_interval_says_so(ratio: Ratio, steady: bool, told: str) -> None:
    """A ten per cent that may as well be none must not be fixed for a week."""
    compared = comparison.Compared("single", ratio, steady)
    assert str(compared).endswith(told)
    assert compared.is_slower(0.05) == (ratio.low > 1)


@pytest.mark.parametrize(("text", "limit"), [("5%", 0.05), ("5", 0.05), ("0%", 0.0), (None, None)])
def test_a_limit_is_read_with_and_without_its_sign(text: str | None, limit: float | None) -> None:
    assert comparison.limit_of(text, Path("earlier.json")) == limit


@pytest.mark.parametrize("text", ["-5%", "nan", "inf%", "5%%", ""])
def test_a_limit_that_lets_everything_pass_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="wanted a percentage"):
        comparison.limit_of(text, Path("earlier.json"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[1]", "not a report"),
        ("no json", "not a report"),
        ('{"format": 1}', "not a report of `edgebird bench --json`: 'machine'"),
        ('{"format": 2, "machine": {"a": 1}, "bundle": {"a": 1}, "audio": {"a": 1}, "runs": [1]}', "report format 2"),
    ],
)
def test_a_file_that_is_no_report_of_this_format_is_told(content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(EdgebirdError, match=f"^{tmp_path}/report.json: {told}"):
        comparison.read_report(tmp_path / "report.json")
