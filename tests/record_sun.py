"""Make tests/data/sun.json anew: what two other programs say of the sun. It takes astral 3.2 and ephem 4.2.1.

A row: latitude, longitude, day, which time, and what it is by ephem and by astral: UTC, or why there is none (ephem
alone tells which). Rows of which the two do not agree to 30 s are left out.
"""

from __future__ import annotations

import json
import random
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import astral
import astral.sun
import ephem

from edgebird.sun import sun_times

TIMES = {"sunrise": None, "sunset": None, "civil_dawn": -6, "civil_dusk": -6, "nautical_dawn": -12}
TIMES |= {"nautical_dusk": -12, "astronomical_dawn": -18, "astronomical_dusk": -18}
PLACES = [(52.52, 13.41), (-36.85, 174.76), (1.87, -157.4), (39.47, 75.99), (0.0, -78.5), (64.15, -21.94)]
PLACES += [(69.65, 18.96), (78.22, 15.65), (-54.8, -68.3), (-77.85, 166.67), (82.5, -62.35), (66.5, 25.73)]


def by_ephem(place: tuple[float, float], noon: datetime, limit: int | None, rises: bool) -> str:
    observer = ephem.Observer()
    observer.lat, observer.lon = map(str, place)
    observer.pressure, observer.elevation = 0, 0
    observer.horizon, observer.date = "-0:34" if limit is None else str(limit), noon.replace(tzinfo=None)
    look = observer.previous_rising if rises else observer.next_setting
    try:
        found = look(ephem.Sun(), use_center=limit is not None).datetime()
    except ephem.AlwaysUpError:
        return "never sets"
    except ephem.NeverUpError:
        return "never rises"
    return found.isoformat(timespec="seconds") if abs(found - noon.replace(tzinfo=None)) < timedelta(hours=13) else ""


def by_astral(place: tuple[float, float], noon: datetime, limit: int | None, rises: bool) -> datetime | None:
    observer = astral.Observer(*place, 0)
    found = []
    for days in (-1, 0, 1):
        day = noon.date() + timedelta(days=days)
        try:
            if limit is None:
                found.append((astral.sun.sunrise if rises else astral.sun.sunset)(observer, day))
            else:
                found.append((astral.sun.dawn if rises else astral.sun.dusk)(observer, day, depression=-limit))
        except ValueError:
            continue
    return min(found, key=lambda one: abs(one - noon), default=None)


def main() -> None:
    draw, rows = random.Random(5), []
    for place in PLACES:
        for month in (1, 3, 5, 6, 9, 11):
            day = date(draw.randrange(2020, 2040), month, draw.randrange(1, 29))
            noon = sun_times(*place, day).noon.replace(microsecond=0)
            for name, limit in TIMES.items():
                rises = name.endswith(("dawn", "rise"))
                ours, theirs = by_ephem(place, noon, limit, rises), by_astral(place, noon, limit, rises)
                if ours.startswith("never"):
                    rows.append([*place, str(day), name, ours, None])
                elif ours and theirs:
                    gap = theirs - datetime.fromisoformat(ours).replace(tzinfo=timezone.utc)
                    if abs(gap) < timedelta(seconds=30):
                        rows.append([*place, str(day), name, ours, theirs.replace(tzinfo=None).isoformat()[:19]])
    lines = ",\n".join(json.dumps(row) for row in rows)
    (Path(__file__).parent / "data" / "sun.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
