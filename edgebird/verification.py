"""Verification: a bundle's graph in an engine, on this machine, against the original network's scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgebird.bundle import Bundle
from edgebird.card import FLOOR_GROUP
from edgebird.parity import TOLERANCES, Parity, Tolerance, compare, score_in_groups
from edgebird.runtimes import RuntimeOptions, open_runtime


@dataclass(frozen=True, slots=True)
class Verification:
    """What came out for one precision in one runtime. worst: what is heard in the window with the largest error."""

    precision: str
    runtime: str
    parity: Parity
    tolerance: Tolerance
    worst: str

    @property
    def passed(self) -> bool:
        """Whether the engine may be trusted with this model."""
        return self.parity.passes(self.tolerance)

    def to_json(self) -> dict[str, Any]:
        """As `edgebird verify --json` prints it."""
        return {
            "precision": self.precision,
            "runtime": self.runtime,
            "passed": self.passed,
            "tolerance": asdict(self.tolerance),
            "parity": self.parity.to_json(),
            "worst_window_name": self.worst,
        }


def verify(
    bundle: Bundle,
    runtime: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Iterator[Verification]:
    """Run the golden windows through every precision of the bundle (or one) and compare with the original.

    Windows are scored one by one and in batches of four, which must make no difference; a bundle with a floor for the
    batch is scored in its groups of four. tell: takes the choice of `auto`.

    Raises BundleError, RuntimeUnavailableError, ScoreError.
    """
    golden = bundle.golden()
    sizes = _batch_sizes(bundle)
    for name in [precision] if precision else bundle.card.precisions:
        engine = open_runtime(bundle, runtime, RuntimeOptions(name, threads, sizes), tell)
        try:
            scores = np.concatenate([score_in_groups(engine.infer, golden.windows(), size) for size in sizes])
        finally:
            engine.close()
        tolerance = TOLERANCES[name]
        parity = compare(np.tile(golden.scores, (len(sizes), 1)), scores, tolerance)
        worst = golden.names[parity.worst_window % len(golden.names)]
        yield Verification(name, engine.name, parity, tolerance, worst)


def _batch_sizes(bundle: Bundle) -> tuple[int, ...]:
    return (FLOOR_GROUP,) if bundle.card.db_floor == "batch" else (1, 4)
