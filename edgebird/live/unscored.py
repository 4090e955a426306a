"""Windows of a source that were not scored, one after the other: told as one gap."""

from __future__ import annotations

from edgebird.types import Gap


class Unscored:
    """Joins gaps that follow one another. longest: samples after which one is told though it goes on."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._open: Gap | None = None

    def add(self, gap: Gap) -> list[Gap]:
        """Take one more; what is to be told now."""
        last, told = self._open, []
        if last and (last.end, last.reason) == (gap.start, gap.reason):
            gap = Gap(last.start, gap.end, gap.reason)
        else:
            told = self.end()
        self._open = gap
        return told if gap.end - gap.start < self._longest else told + self.end()

    def end(self) -> list[Gap]:
        """What is still to be told, as it does not go on."""
        gap, self._open = self._open, None
        return [gap] if gap else []
