"""Detections that a person has verified, as other programs take them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from edgebird.errors import AudioError
from edgebird.events import Event, encodable
from edgebird.formats import Raven, TableOptions
from edgebird.types import Origin
from edgebird.web.media import clip_path, read_clip

_HIGHEST_HZ = 12_000
_COMMENT = "heard by an automatic recorder, verified by ear"


def raven_table(verified: Iterable[Mapping[str, Any]], clips: Path | None) -> str:
    """Return a Raven selection table of clips in sequence: a selection for each detection that has its sound."""
    table = Raven(2 * _HIGHEST_HZ, TableOptions(times=True, in_sequence=True))
    lines = [table.header()]
    for one in verified:
        path = clip_path(clips, one["clip"])
        if path is None:
            continue
        try:
            clip = read_clip(path)
        except AudioError:
            continue
        origin = Origin(path.name, path)
        code, common = (
            (one["code"], one["common_name"]) if one["verdict"] == "right" else (one["species"], one["species"])
        )
        event: Event = {"event": "detection", "time": one["detected"], "start_s": clip.start_s, "end_s": clip.end_s,
                        "code": code, "common_name": common, "score": one["score"]}  # fmt: skip
        lines.append(table.line(origin, event))
        lines.append(table.line(origin, {"event": "summary", "scored_s": clip.length_s, "gap_s": 0, "tail_s": 0}))
    return encodable("".join(lines))


def ebird_records(
    verified: Iterable[Mapping[str, Any]],
    known: Mapping[str, Sequence[str]],
    location: str,
    place: tuple[float, float] | None,
) -> str:
    """Return eBird's record format, extended: one line for each species and hour, without headings, as eBird wants it.

    known: scientific and common name by code. A species that a person named instead has the names of its code, or the
    text as its common name. Counts are X, for present: detections are no individuals. Not all species are reported.
    """
    seen: dict[tuple[str, str], tuple[str, str]] = {}
    for one in verified:
        if not one["detected"]:
            continue
        code = one["code"] if one["verdict"] == "right" else one["species"]
        names = (
            (one["scientific_name"], one["common_name"]) if one["verdict"] == "right" else known.get(code, ("", code))
        )
        seen.setdefault((one["detected"][:13], code), (names[0], names[1]))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    latitude, longitude = (f"{place[0]:.6f}", f"{place[1]:.6f}") if place else ("", "")
    for (hour, _), (scientific, common) in sorted(seen.items()):
        genus, _, epithet = scientific.partition(" ")
        moment = datetime.fromisoformat(hour)
        writer.writerow(
            [
                _plain(common), genus, epithet, "X", _COMMENT, _plain(location),
                latitude, longitude, f"{moment:%m/%d/%Y}", f"{moment:%H:%M}", "", "", "stationary", "1", "60", "N", "",
                "", "edgebird",
            ]
        )  # fmt: skip
    return encodable(file.getvalue())


def _plain(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
