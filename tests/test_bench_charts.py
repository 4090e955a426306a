"""Samples as pictures: every sample is drawn, inside of the picture, and those who cannot see it get its title."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.etree import ElementTree

import pytest

from edgebird.pictures.samples import curve, histogram, series

SVG = "{http://www.w3.org/2000/svg}"
SAMPLES = [10.0, 10.5, 11.0, 12.0, 30.0]


def picture(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg ", f'<svg xmlns="{SVG[1:-1]}" '))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in picture(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("draw", [histogram, curve, series])
@pytest.mark.parametrize("samples", [SAMPLES, [7.0], [7.0] * 50, [0.0] * 5], ids=["spread", "one", "equal", "zero"])
def test_everything_is_drawn_inside_of_the_picture(
    draw: Callable[[Sequence[float]], str], samples: Sequence[float]
) -> None:
    """A run of one sample, or of equal ones, must not divide by its spread: the whole page would be lost."""
    svg = draw(samples)
    width, height = map(float, (picture(svg).get("viewBox") or "").split()[2:])
    for element in picture(svg).iter():
        for name, most in (("x", width), ("cx", width), ("width", width), ("y", height), ("cy", height)):
            assert 0 <= float(element.get(name, 0)) <= most, ElementTree.tostring(element)
        for point in (element.get("points") or "0,0").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
    assert "nan" not in svg


@pytest.mark.parametrize(
    ("draw", "title"),
    [
        (histogram, "Histogram of 5 samples, median 11.00 ms"),
        (curve, "Distribution: 99 % of samples took at most 29.28 ms"),
        (series, "5 samples in order, 10.00 to 30.00 ms"),
    ],
)
def test_those_who_cannot_see_it_are_told_what_it_shows(draw: Callable[[Sequence[float]], str], title: str) -> None:
    found = picture(draw(SAMPLES))
    assert found.get("aria-label") == title
    assert found.findtext(f"{SVG}title") == title


def test_no_sample_is_missing_in_the_order_of_time() -> None:
    """The outlier is the audio that a station loses: it stands highest, and where it came."""
    dots = [
        (float(dot.get("cx", 0)), float(dot.get("cy", 0)))
        for dot in picture(series([*SAMPLES, 9])).iter()
        if dot.get("cx")
    ]
    assert len(dots) == 6
    assert dots == sorted(dots)
    assert min(dots, key=lambda dot: dot[1]) == dots[4]


def test_bars_are_as_high_as_their_samples_are_many() -> None:
    bars = [float(bar.get("height", 0)) for bar in picture(histogram([1.0, 1.1, 1.2, 9.0])).iter(f"{SVG}rect")]
    assert bars[0] == pytest.approx(3 * bars[-1], abs=0.2)
    assert not any(bars[1:-1])


def test_the_distribution_rises_from_none_to_all() -> None:
    (line,) = picture(curve(SAMPLES)).iter(f"{SVG}polyline")
    points = [point.split(",") for point in line.get("points", "").split()]
    across, up = zip(*((float(x), -float(y)) for x, y in points), strict=True)
    assert list(across) == sorted(across)
    assert list(up) == sorted(up)
    assert up[-1] > up[0]


def test_axes_are_labelled_with_the_figures_at_their_ends() -> None:
    """Time of a series begins at zero, so that small changes look small."""
    assert texts(series(SAMPLES))[-2:] == ["0", "30"]
    assert texts(curve(SAMPLES)) == ["10", "20", "30", "0", "1"]
