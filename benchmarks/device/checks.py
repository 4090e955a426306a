"""What a run on a device asks beyond edgebird's own commands: a line of JSON for each finding.

    python -m edgebird.benchmarks.device.checks CHECK [BUNDLE [RUNTIME PRECISION]]

Exit code 1 if something failed: the last line says what.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgebird.benchmarks.device import algorithms, cuda_calls, facts, feeding, kernels, lanes, load, targets
from edgebird.bundle import open_bundle
from edgebird.errors import EdgebirdError

Finding = Mapping[str, Any]

CHECKS: dict[str, Callable[..., Iterator[Finding]]] = {
    "facts": facts.facts,
    "cuda": cuda_calls.calls,
    "algorithms": algorithms.algorithms,
    "tf32": algorithms.tf32,
    "options": algorithms.options,
    "feeding": feeding.feeding,
    "lanes": lanes.lanes,
    "energy": load.energy,
    "kernels": kernels.kernels,
    "detect": load.detect,
    "targets": targets.targets,
}


def main(arguments: list[str]) -> int:
    """Run a check."""
    name, *rest = arguments
    given: list[Any] = [open_bundle(rest[0]), *rest[1:]] if rest else []
    failed = ""
    try:
        for finding in CHECKS[name](*given):
            print(json.dumps(finding, default=str), flush=True)
            failed = str(finding.get("failed") or failed)
    except EdgebirdError as error:
        failed = str(error)
    if failed:
        print(f"error: {failed}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
