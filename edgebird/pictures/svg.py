"""What SVG pictures are made of: scales, cells, hatching, words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

STEPS = 6  # of colour


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of a picture, in its units."""

    x: float
    y: float
    width: float
    height: float

    def draw(self, kind: str, title: str = "") -> str:
        """Return it in the colours of a class, with words that appear under the pointer."""
        words = f"<title>{escape(title)}</title>" if title else ""
        place = f'x="{self.x:.1f}" y="{self.y:.1f}" width="{self.width:.1f}" height="{self.height:.1f}"'
        return f'<rect class="{kind}" {place}>{words}</rect>' if words else f'<rect class="{kind}" {place}/>'

    def hatched(self, name: str, title: str = "") -> str:
        """Return it with the hatching of a picture."""
        words = f"<title>{escape(title)}</title>" if title else ""
        place = f'x="{self.x:.1f}" y="{self.y:.1f}" width="{max(0.8, self.width):.1f}" height="{self.height:.1f}"'
        return f'<rect class="deaf" fill="url(#{name}-hatch)" {place}>{words}</rect>'


def shade(count: float, most: float) -> int:
    """Return the step of colour of a count, 1 to STEPS, even steps of its logarithm; 0 for none."""
    if count <= 0:
        return 0
    return 1 + min(STEPS - 1, int(STEPS * math.log1p(count - 1) / math.log1p(max(1.0, most))))


def words(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    """Return a text at a place. anchor: start, middle or end."""
    of = f' class="{kind}"' if kind else ""
    return f'<text{of} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def link(address: str | None, content: str) -> str:
    """Return the content as a link, or as it is where there is no address."""
    return f'<a href="{escape(address)}">{content}</a>' if address else content


def shortened(text: str, length: int) -> str:
    """Return a text of at most so many characters, its end cut."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def picture(name: str, size: tuple[float, float], title: str, parts: Iterable[str]) -> str:
    """Return an SVG. name: unique on its page, letters and digits. size: width and height. title: what it shows."""
    width, height = size
    hatching = (
        f'<defs><pattern id="{name}-hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>'
    )
    return (
        f'<svg class="picture" viewBox="0 0 {width:.0f} {height:.0f}" role="group" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{hatching}{''.join(parts)}</svg>"
    )
