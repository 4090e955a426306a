"""Checks of single settings: what a file and a command line may say, and what becomes of it. In use: test_settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgebird.errors import UsageError
from edgebird.settings import checks
from edgebird.settings.checks import Check, split_thresholds
from edgebird.settings.hours import SunBound, hours

TAKEN: list[tuple[Callable[[], Check], Any, Any]] = [
    (checks.path, "a b", Path("a b")),
    (checks.path, Path("x"), Path("x")),
    (checks.folders, ["/media/a", "/b"], (Path("/media/a"), Path("/b"))),
    (checks.folders, "/media/a", (Path("/media/a"),)),
    (checks.boolean, False, False),
    (checks.text, "", ""),
    (checks.text, Path("x"), "x"),
    (checks.device, 0, "0"),
    (checks.device, "USB", "USB"),
    (lambda: checks.whole(1), 1, 1),
    (lambda: checks.number(0, 1), 0, 0.0),
    (lambda: checks.number(0, 1), 1, 1.0),
    (lambda: checks.number(-90, 90), -90, -90.0),
    (lambda: checks.number(0), 1e9, 1e9),
    (checks.scores, {"comcuc": 1}, {"comcuc": 1.0}),
    (checks.scores, {}, {}),
    (hours, ["22:00 - 04:30"], ((time(22), time(4, 30)),)),
    (hours, (), ()),
    (hours, ["sunset-04:30"], ((SunBound("sunset"), time(4, 30)),)),
    (
        hours,
        ["sunset-00:30-sunrise", "civil-dawn - civil-dusk+01:00"],
        (
            (SunBound("sunset", -timedelta(minutes=30)), SunBound("sunrise")),
            (SunBound("civil-dawn"), SunBound("civil-dusk", timedelta(hours=1))),
        ),
    ),
    (checks.timezone, "+05:30", "+05:30"),
    (checks.size, "0B", 0),
    (checks.size, "1.5 kb", 1500),
    (checks.size, "2TB", 2 * 10**12),
]
REFUSED: list[tuple[Callable[[], Check], list[Any]]] = [
    (checks.path, ["", 5, None, ["x"]]),
    (checks.folders, ["media", ["/a", "b"], [5], 5, ""]),
    (checks.boolean, [0, 1, "true"]),
    (checks.text, [5, None]),
    (checks.device, [True, 1.0, None]),
    (lambda: checks.choice(lambda: ["a", "b"]), ["c", "", 1]),
    (lambda: checks.whole(1), [0, 1.0, True, "1"]),
    (lambda: checks.number(0, 1), [-0.001, 1.001, math.nan, math.inf, True, "0.5"]),
    (lambda: checks.number(0), [math.inf]),
    (checks.scores, [[], {"comcuc": 2}, {"comcuc": "high"}, {"comcuc": True}]),
    (hours, ["22:00-04:30", ["24:00-04:30"], ["22:60-04:30"], ["22-04"], [22], ["12:00-12:00"], ["noon-sunset"]]),
    (
        hours,
        [["sunset+1:00-sunrise"], ["sunset+24:00-sunrise"], ["sunset"], ["22:00+01:00-sunrise"]],
    ),
    (checks.timezone, [5, "Mars/Base", ""]),
    (checks.size, [20, "20", "GB", "-1GB", "1 PB", "1GiB"]),
]


@pytest.mark.parametrize(("make", "value", "wanted"), TAKEN)
def test_what_is_allowed_becomes_what_the_model_has(make: Callable[[], Check], value: Any, wanted: Any) -> None:
    found = make().read(value)
    assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize(("make", "values"), REFUSED)
def test_what_is_not_allowed_is_refused_with_what_was_wanted(make: Callable[[], Check], values: list[Any]) -> None:
    """`true` is a number to Python, and NaN is within every span that is asked for the wrong way round."""
    check = make()
    for value in values:
        with pytest.raises(ValueError, match=r"\w") as caught:
            check.read(value)
        assert str(caught.value).split(",")[0].split()[0] == check.wanted().split(",")[0].split()[0], value


def test_a_choice_asks_for_its_names_when_it_is_needed() -> None:
    """Engines and formats are known by modules that `edgebird --help` must not load."""
    asked: list[bool] = []

    def names() -> list[str]:
        asked.append(True)
        return ["tcp", "udp", "any"]

    check = checks.choice(names)
    assert not asked
    assert check.read("udp") == "udp"
    assert check.wanted() == "one of tcp, udp, any"
    assert checks.choice(lambda: ["tcp", "udp"]).wanted() == "tcp or udp"


@pytest.mark.parametrize(
    ("texts", "given"),
    [
        ([], {}),
        (["0.5"], {"threshold": 0.5}),
        (["0.4", "0.5"], {"threshold": 0.5}),
        (["comcuc=0.7", "a=0.1", "comcuc=0.8"], {"thresholds": {"comcuc": 0.8, "a": 0.1}}),
        (["0.4", "Turdus merula=.6"], {"threshold": 0.4, "thresholds": {"Turdus merula": 0.6}}),
    ],
)
def test_thresholds_are_of_all_species_or_of_one(texts: list[str], given: dict[str, Any]) -> None:
    assert split_thresholds(texts) == given


@pytest.mark.parametrize("text", ["", "=", "comcuc=", "comcuc=high", "0,5"])
def test_a_threshold_that_is_none_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match=f"^--threshold {text}: wanted X, or CODE=X for one species$"):
        split_thresholds([text])


@pytest.mark.parametrize(
    ("value", "text"), [(True, "true"), (False, "false"), (1.5, "1.5"), ("a", "'a'"), (Path("a b"), "a b")]
)
def test_messages_show_values_nearly_as_the_file_has_them(value: Any, text: str) -> None:
    assert checks.shown(value) == text
