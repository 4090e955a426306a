"""Say whether two tables of detections are the same: python alike.py HERE.csv THERE.csv WHAT. Exit code 1: not."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

_TOLERANCE = 1e-3  # of scores with four digits


def main(here: str, there: str, what: str) -> None:
    """Compare all but the score as text, and say how far scores are apart."""
    tables = []
    for path in (here, there):
        with Path(path).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        tables.append([(float(row.pop("Confidence")), {**row, "File": Path(row["File"]).name}) for row in rows])
    one, other = tables
    if not one or [row for _, row in one] != [row for _, row in other]:
        sys.exit(f"{what}: {len(one)} detections here, {len(other)} there, and not the same")
    apart = max(abs(a - b) for (a, _), (b, _) in zip(one, other, strict=True))
    if apart > _TOLERANCE:
        sys.exit(f"{what}: scores are {apart:.4f} apart")
    print(f"{what}: the same {len(one)} detections as here, scores at most {apart:.4f} apart")


if __name__ == "__main__":
    main(*sys.argv[1:])
