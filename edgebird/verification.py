"""Verification: a bundle's graph in an engine, on this machine, against the original network's scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from edgebird.bundle import Bundle
from edgebird.card import floor_group
from edgebird.parity import Parity, Proof, Tolerance, prove
from edgebird.runtimes import RuntimeOptions, open_runtime


@dataclass(frozen=True, slots=True)
class Verification:
    """What came out for one precision in one runtime.

    recordings: how many the golden windows are of, 0: not known. worst_class: code of the class with the largest error.
    """

    precision: str
    runtime: str
    proof: Proof
    recordings: int = 0
    worst_class: str = ""

    @property
    def passed(self) -> bool:
        """Whether the engine may be trusted with this model."""
        return self.proof.passed

    @property
    def parity(self) -> Parity:
        """How far its scores are from the original's."""
        return self.proof.parity

    @property
    def tolerance(self) -> Tolerance:
        """How far they may be."""
        return self.proof.tolerance

    @property
    def worst(self) -> str:
        """What is heard in the window with the largest error."""
        return self.proof.name

    def to_json(self) -> dict[str, Any]:
        """As `edgebird verify --json` prints it."""
        return {
            "precision": self.precision,
            "runtime": self.runtime,
            "passed": self.passed,
            "tolerance": asdict(self.tolerance),
            "parity": self.parity.to_json(),
            "worst_window_name": self.worst,
            "worst_class": self.worst_class,
            "cause": self.proof.cause,
            "recordings": self.recordings,
        }


def verify(
    bundle: Bundle,
    runtime: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Iterator[Verification]:
    """Run the golden windows through every precision of the bundle (or one) and compare with the original.

    Windows are scored at the batch sizes of `Card.proof_sizes`, and as many at once as the engine takes. tell: takes
    the choice of `auto`.

    Raises BundleError, RuntimeUnavailableError, ScoreError.
    """
    golden, usual = bundle.golden(), bundle.card.proof_sizes()
    # A model that was adopted must be right in the first batch of a size, too: some exports are not.
    warm = None if bundle.card.reference else usual
    for name in [precision] if precision else bundle.card.precisions:
        engine = open_runtime(bundle, runtime, RuntimeOptions(name, threads, warm), tell)
        try:
            sizes = bundle.card.proof_sizes(max(engine.batch_size, *usual))
            proof = prove(engine.infer, golden, sizes, bundle.card.tolerance(name), floor_group(bundle.card.db_floor))
        finally:
            engine.close()
        yield Verification(name, engine.name, proof, len(set(golden.recordings)), bundle.card.codes[proof.label])
