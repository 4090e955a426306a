"""Playlists and pages that servers send where a stream was expected: what they are, and what they lead to.

Playlists of addresses: M3U, PLS, XSPF, ASX. Playlists of segments: HLS (RFC 8216).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)')
_XML_PLACES = re.compile(r"<location>\s*([^<]+?)\s*</location>|<ref\s[^>]*href\s*=\s*[\"']([^\"']+)", re.IGNORECASE)
_LONGEST_S = 86400.0
_VIDEO = ("avc", "hvc", "hev", "vp0", "vp8", "vp9", "av01", "dvh")


def kind_of(head: bytes) -> str:
    """Tell what begins like that: `hls`, `playlist`, `page`, `dash`, or empty for what may be sound."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:2048]
    lower = text.lower()
    if text.startswith(b"#EXTM3U"):
        return "hls" if b"#EXT-X-" in text else "playlist"
    if lower.startswith((b"[playlist]", b"<asx")) or re.match(rb"https?://\S+\s*(\n|$)", lower):
        return "playlist"
    if lower.startswith((b"<?xml", b"<playlist", b"<mpd")):
        return next((kind for kind in ("dash", "page") if _MARKS[kind] in lower), "playlist")
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        return "page"
    return ""


_MARKS = {"dash": b"<mpd", "page": b"<html"}


def places_in(text: str) -> list[str]:
    """Return the addresses in an M3U, PLS, XSPF or ASX playlist, in order."""
    lines = [line.strip() for line in text.lstrip("\ufeff").splitlines()]
    if text.lstrip("\ufeff \t\r\n").startswith("<"):
        return [unescape(first or second) for first, second in _XML_PLACES.findall(text)]
    if any(line.lower() == "[playlist]" for line in lines):
        return [line.partition("=")[2].strip() for line in lines if re.match(r"file\d+\s*=", line, re.IGNORECASE)]
    return [line for line in lines if line and not line.startswith("#")]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a stream. sequence: its number. start, size: of its bytes, size None for all of them.

    header: the address of what has to be read before, and its bytes, as of a segment. broken: it does not continue the
    one before it. encrypted: by which method, empty for none.
    """

    place: str
    sequence: int
    seconds: float
    span: tuple[int, int] | None = None
    header: tuple[str, tuple[int, int] | None] | None = None
    broken: bool = False
    encrypted: str = ""


@dataclass(frozen=True, slots=True)
class SegmentList:
    """An HLS media playlist. target_s: no segment is longer. ended: no more will come."""

    target_s: float
    segments: tuple[Segment, ...]
    ended: bool


def variants_in(text: str) -> list[str]:
    """Return the addresses of an HLS master playlist, the best to hear first; none in a media playlist.

    Audio alone comes first, and of that the best; where there is video, the least of it, as its audio is the same.
    """
    found: list[tuple[int, int, str]] = []
    audio: dict[str, str] = {}
    attributes: dict[str, str] | None = None
    for line in map(str.strip, text.splitlines()):
        if line.startswith("#EXT-X-MEDIA:"):
            media = _attributes(line)
            if media.get("TYPE") == "AUDIO" and media.get("URI") and media.get("DEFAULT") != "NO":
                audio.setdefault(media.get("GROUP-ID", ""), media["URI"])
        elif line.startswith("#EXT-X-STREAM-INF:"):
            attributes = _attributes(line)
        elif line and not line.startswith("#") and attributes is not None:
            bandwidth = attributes.get("BANDWIDTH", "")
            rate = int(bandwidth) if bandwidth.isdecimal() else 0
            apart = audio.get(attributes.get("AUDIO", "-"))
            video = "RESOLUTION" in attributes or any(word in attributes.get("CODECS", "").lower() for word in _VIDEO)
            found.append((2, rate, line) if video and not apart else (1, -rate, apart or line))
            attributes = None
    return [place for _, _, place in sorted(found)]


def segments_in(text: str) -> SegmentList:
    """Read an HLS media playlist. Raises ValueError for what is none."""
    if not text.lstrip("\ufeff").startswith("#EXTM3U"):
        raise ValueError("this is no HLS playlist")
    reader = _SegmentReader()
    for line in map(str.strip, text.splitlines()):
        reader.take(line)
    return SegmentList(reader.target_s, tuple(reader.segments), reader.ended)


class _SegmentReader:
    """What the lines so far say of the segments to come."""

    def __init__(self) -> None:
        self.target_s, self.ended = 10.0, False
        self.segments: list[Segment] = []
        self._sequence, self._seconds = 0, 0.0
        self._span: str | None = None
        self._next = 0  # byte after the last span
        self._header: tuple[str, tuple[int, int] | None] | None = None
        self._broken, self._encrypted = False, ""

    def take(self, line: str) -> None:
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-TARGETDURATION":
            self.target_s = max(0.1, _seconds(value))
        elif tag == "#EXT-X-MEDIA-SEQUENCE":
            self._sequence = int(value)
        elif tag == "#EXTINF":
            self._seconds = _seconds(value.partition(",")[0] or "0")
        elif tag == "#EXT-X-BYTERANGE":
            self._span = value
        elif tag == "#EXT-X-MAP":
            given = _attributes(line)
            self._header = given.get("URI", ""), self._bytes(given.get("BYTERANGE"))
        elif tag == "#EXT-X-KEY":
            method = _attributes(line).get("METHOD", "NONE")
            self._encrypted = "" if method == "NONE" else method
        elif tag == "#EXT-X-DISCONTINUITY":
            self._broken = True
        elif tag == "#EXT-X-ENDLIST":
            self.ended = True
        elif line and not line.startswith("#"):
            self._add(line)

    def _add(self, place: str) -> None:
        number = self._sequence + len(self.segments)
        span, self._span = self._bytes(self._span), None
        found = Segment(place, number, self._seconds, span, self._header, self._broken, self._encrypted)
        self.segments.append(found)
        self._broken = False

    def _bytes(self, text: str | None) -> tuple[int, int] | None:
        if text is None:
            return None
        size, _, start = text.partition("@")
        first = int(start) if start else self._next
        self._next = first + int(size)
        return first, int(size)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= _LONGEST_S:
        raise ValueError(f"{text[:20]} are no seconds of a segment")
    return seconds


def _attributes(line: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line.partition(":")[2])}
