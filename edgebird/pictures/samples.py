"""Samples as pictures: SVG that takes its colours from the page, with a title for those who cannot see it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 420, 200, 46, 24, 8, 10
_BINS = 40


def histogram(samples: Sequence[float]) -> str:
    """How often each latency came."""
    counts, edges = np.histogram(samples, bins=min(_BINS, max(5, len(samples) // 3)))
    across, up = _Scale(edges[0], edges[-1], wide=True), _Scale(0, counts.max(), wide=False)
    bars = (
        f'<rect class="bar" x="{across(low):.1f}" y="{up(count):.1f}" '
        f'width="{max(0.5, across(high) - across(low) - 1):.1f}" height="{up(0) - up(count):.1f}"/>'
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    )
    median = float(np.median(samples))
    return _picture(f"Histogram of {len(samples)} samples, median {median:.2f} ms", bars, across, up)


def curve(samples: Sequence[float]) -> str:
    """The empirical distribution: share of samples up to each latency."""
    ordered = np.sort(samples)
    across, up = _Scale(ordered[0], ordered[-1], wide=True), _Scale(0, 1, wide=False)
    points = [(ordered[0], 0.0)]
    for index, value in enumerate(ordered, 1):
        points += [(value, (index - 1) / len(ordered)), (value, index / len(ordered))]
    path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
    p99 = float(np.percentile(samples, 99))
    return _picture(
        f"Distribution: 99 % of samples took at most {p99:.2f} ms",
        [f'<polyline class="curve" points="{path}"/>'],
        across,
        up,
    )


def series(samples: Sequence[float]) -> str:
    """Every sample in the order of time, from zero, so that small changes look small."""
    across, up = _Scale(1, max(2, len(samples)), wide=True), _Scale(0, max(samples), wide=False)
    dots = (
        f'<circle class="dot" cx="{across(index):.1f}" cy="{up(value):.1f}" r="1.6"/>'
        for index, value in enumerate(samples, 1)
    )
    return _picture(f"{len(samples)} samples in order, {min(samples):.2f} to {max(samples):.2f} ms", dots, across, up)


class _Scale:
    """From values to places in the picture; wide: along its width, else along its height, upwards."""

    def __init__(self, low: float, high: float, wide: bool) -> None:
        self.low, self.high = float(low), float(high) if high > low else float(low) + 1.0
        self._from, self._to = (_LEFT, _WIDTH - _RIGHT) if wide else (_HEIGHT - _BOTTOM, _TOP)

    def __call__(self, value: float) -> float:
        return self._from + (self._to - self._from) * (float(value) - self.low) / (self.high - self.low)


def _picture(title: str, marks: Iterable[str], across: _Scale, up: _Scale) -> str:
    floor = _HEIGHT - _BOTTOM
    labels = [
        f'<text x="{across(value):.0f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{value:.4g}</text>'
        for value, anchor in ((across.low, "start"), ((across.low + across.high) / 2, "middle"), (across.high, "end"))
    ]
    labels += [
        f'<text x="{_LEFT - 6}" y="{up(value) + 4:.0f}" text-anchor="end">{value:.4g}</text>'
        for value in (up.low, up.high)
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>'
        f'<line class="axis" x1="{_LEFT}" y1="{floor}" x2="{_WIDTH - _RIGHT}" y2="{floor}"/>'
        f'<line class="axis" x1="{_LEFT}" y1="{_TOP}" x2="{_LEFT}" y2="{floor}"/>'
        f"{''.join(marks)}{''.join(labels)}</svg>"
    )
