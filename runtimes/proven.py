"""A precision that only the computer it runs on can prove: held to the golden windows there, before it is used."""

from __future__ import annotations

import hashlib
import json
import logging
import platform

from edgebird.bundle import Bundle
from edgebird.card import floor_group
from edgebird.errors import OutputError, RuntimeUnavailableError
from edgebird.files import atomic_path, cache_folder
from edgebird.machine import cpu_name
from edgebird.parity import prove
from edgebird.runtimes import Runtime, apart

log = logging.getLogger(__name__)


def require_proof(runtime: Runtime, bundle: Bundle, precision: str, version: str) -> None:
    """Score the golden windows, unless an engine of this version passed with this graph on this CPU before.

    Not in a process that only finds out whether an engine survives (see `apart`). Raises RuntimeUnavailableError, with
    the differences, if they are beyond the tolerance, and BundleError without golden windows.
    """
    card = bundle.card
    facts = [runtime.name, version, precision, bundle.graph_of(precision).sha256, cpu_name(), platform.platform()]
    note = cache_folder() / "proven" / hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    if not apart.enabled or note.is_file():
        return
    sizes = card.proof_sizes(runtime.batch_size)
    proof = prove(runtime.infer, bundle.golden(), sizes, card.tolerance(precision), floor_group(card.db_floor))
    if not proof.passed:
        raise RuntimeUnavailableError(
            f"{runtime.name}: {precision} as this CPU computes it is refused: {proof.explain('golden', card.codes)}: "
            "use --precision fp32"
        )
    try:
        with atomic_path(note) as temporary:
            temporary.write_bytes(b"")
    except OutputError as error:
        log.debug("%s: proven at each start: %s", runtime.name, error)
