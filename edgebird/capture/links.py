"""Where one piece of a stream ends and another begins, in Ogg (RFC 3533: chained) and FLAC: at every track of a radio.

FFmpeg cannot go on in Ogg where the number of channels or the rate changes, and takes headers within FLAC for sound. So
each piece is a file of its own to it.
"""

from __future__ import annotations

from collections.abc import Callable

_PAGE, _FIRST = 27, 2  # bytes of an Ogg page before its table of sizes; the flag of a stream's first page
_FLAC = b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22"  # with the beginning of STREAMINFO, which comes first and has 34 bytes


class Links:
    """Bytes of a stream, one piece after the other. source: gives at most so many bytes, none at the end.

    head: the first bytes, which tell whether there can be pieces at all; `source` gives them, too.
    """

    def __init__(self, head: bytes, source: Callable[[int], bytes]) -> None:
        self._source = source
        self._find: Callable[[], _OggPages | _FlacHeaders] = _OggPages if head[:4] == b"OggS" else _FlacHeaders
        self._position = self._find()
        self._waiting = b""
        self._free = 0  # bytes of what waits that belong to this piece
        self._ended = False  # this piece

    @staticmethod
    def possible(head: bytes) -> bool:
        """Whether a stream that begins like that may have several pieces."""
        return head[:4] in (b"OggS", b"fLaC")

    def read(self, size: int) -> bytes:
        """Give bytes of this piece, at most `size`; nothing at its end."""
        while not self._free and not self._ended:
            self._free, self._ended = self._position.look(self._waiting)
            if self._free or self._ended:
                break
            more = self._source(size)
            if not more:
                self._free = len(self._waiting)
                break
            self._waiting += more
        part = self._waiting[: min(size, self._free)]
        self._waiting, self._free = self._waiting[len(part) :], self._free - len(part)
        return part

    def go_on(self) -> bool:
        """Go on with the next piece; False if there is none."""
        if not self._ended:
            return False
        self._position, self._ended = self._find(), False
        return True


class _OggPages:
    """A piece begins with first pages, one for each of its tracks, and has none later."""

    def __init__(self) -> None:
        self._later = False

    def look(self, data: bytes) -> tuple[int, bool]:
        """Return how many of the next bytes belong to the piece, 0 for want of more; and whether it ends there."""
        if len(data) < _PAGE or len(data) < _PAGE + data[_PAGE - 1]:
            return 0, False
        if data[:4] != b"OggS":  # damaged: on to the next page
            found = data.find(b"OggS")
            return (found if found > 0 else len(data) - 3), False
        first = bool(data[5] & _FIRST)
        if first and self._later:
            return 0, True
        self._later = self._later or not first
        sizes = data[_PAGE : _PAGE + data[_PAGE - 1]]
        size = _PAGE + len(sizes) + sum(sizes)
        return (size if len(data) >= size else 0), False


class _FlacHeaders:
    """A piece begins with a header of 42 bytes, and has none like it later."""

    def __init__(self) -> None:
        self._begun = False

    def look(self, data: bytes) -> tuple[int, bool]:
        """See `_OggPages`."""
        if len(data) < len(_FLAC[0]):
            return 0, False
        places = [found for mark in _FLAC if (found := data.find(mark, 0 if self._begun else 1)) >= 0]
        self._begun = True
        if places:
            return min(places), True
        return len(data) - len(_FLAC[0]) + 1, False
