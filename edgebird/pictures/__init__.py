"""Pictures as SVG: of the station's pages, of reports, of benchmarks and of evaluations.

They take their colours from `pictures.css`, in light and dark, on paper too, and hold no style of their own, so that a
page may forbid inline styles. Each has a title for those who cannot see it. All text is escaped here.
"""

from __future__ import annotations

from importlib import resources


def stylesheet() -> str:
    """Return the CSS that pictures need."""
    return resources.files("edgebird.pictures").joinpath("pictures.css").read_text(encoding="utf-8")
