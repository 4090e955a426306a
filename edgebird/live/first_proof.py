"""Whether the engine of a station scores as the original network did: some golden windows, before it listens."""

from __future__ import annotations

import logging
import math
import time

import numpy as np

from edgebird.bundle import Bundle, GoldenData
from edgebird.errors import ScoreError
from edgebird.parity import Parity, Proof, prove
from edgebird.runtimes import Runtime
from edgebird.runtimes.cascade import in_full

log = logging.getLogger(__name__)

_SECONDS = 2.0  # about: a station is to hear soon
_WINDOWS = 12  # at most
_NO_ENGINES = ("null",)  # score nothing, and say so


def first_proof(bundle: Bundle, runtime: Runtime, precision: str, seconds: float = _SECONDS) -> Proof | None:
    """Score some golden windows, as many as go into so many seconds, and compare; what differs too much is logged.

    None where there is nothing to compare: the bundle came without, or the runtime is `null`. Raises BundleError for
    golden data that is damaged.
    """
    if bundle.card.golden is None or runtime.name in _NO_ENGINES:
        return None
    golden, tolerance, score = bundle.golden(), bundle.card.tolerance(precision), in_full(runtime)
    try:
        began = time.perf_counter()
        score(_some(golden, 1).windows())
        took = time.perf_counter() - began
        many = max(1, min(_WINDOWS, int(seconds / max(took, 1e-6))))
        proof = prove(score, _some(golden, many), (1,), tolerance)
    except ScoreError as error:
        log.warning("%s: %s", runtime.name, error)
        return Proof(Parity(1, math.inf, math.inf, 0.0, 0, 0), tolerance, 0, golden.names[0])
    if not proof.passed:
        log.warning("%s does not score as the original network did: %s", runtime.name, proof.explain("golden"))
    return proof


def _some(golden: GoldenData, many: int) -> GoldenData:
    """Windows that are evenly taken, of all recordings."""
    rows = np.unique(np.linspace(0, len(golden.names) - 1, many).round().astype(int))
    return GoldenData(golden.audio[rows], golden.scores[rows], tuple(golden.names[row] for row in rows))
