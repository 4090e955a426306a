"""A precision that only the computer it runs on can prove: held to the golden windows there, before it is used."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from pathlib import Path

from edgebird import __version__
from edgebird.bundle import Bundle
from edgebird.card import floor_group
from edgebird.errors import OutputError, RuntimeUnavailableError, ScoreError
from edgebird.files import atomic_text, cache_folder
from edgebird.machine import cpu_name
from edgebird.parity import prove
from edgebird.runtimes import Runtime, apart

log = logging.getLogger(__name__)


def require_proof(runtime: Runtime, bundle: Bundle, precision: str, version: str) -> None:
    """Score the golden windows, unless an engine of this version has done so with this graph on this CPU before.

    Not in a process that only finds out whether an engine survives (see `apart`). Raises RuntimeUnavailableError, with
    the differences, if they are beyond the tolerance, and BundleError without golden windows.
    """
    card = bundle.card
    golden, tolerance = card.golden.sha256 if card.golden else "", card.tolerance(precision)
    facts = [runtime.name, version, precision, bundle.graph_of(precision).sha256, cpu_name(), platform.platform()]
    facts += [golden, str(tolerance), __version__]
    note = cache_folder() / "proven" / hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    if not apart.enabled:
        return
    refusal = _noted(note)
    if refusal is None:
        sizes = card.proof_sizes(runtime.batch_size)
        try:
            proof = prove(runtime.infer, bundle.golden(), sizes, tolerance, floor_group(card.db_floor))
            refusal = "" if proof.passed else proof.explain("golden", card.codes)
        except ScoreError as error:
            refusal = str(error)
        _note(note, refusal, runtime.name)
    if refusal:
        raise RuntimeUnavailableError(
            f"{runtime.name}: {precision} as this CPU computes it is refused: {refusal}: use --precision fp32"
        )


def _noted(note: Path) -> str | None:
    """What came out before: nothing if it passed, else why not; None if nobody knows."""
    try:
        return note.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _note(note: Path, refusal: str, name: str) -> None:
    try:
        with atomic_text(note) as stream:
            stream.write(refusal)
    except OutputError as error:
        log.debug("%s: proven at each start: %s", name, error)
