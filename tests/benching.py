"""Reports of `edgebird bench` for its tests, measured as briefly as can be."""

from __future__ import annotations

import json
from typing import Any

from edgebird.benchmarks import session
from edgebird.benchmarks.method import Duration
from edgebird.benchmarks.session import Plan
from edgebird.benchmarks.subjects import Wanted
from edgebird.bundle import Bundle

SHORT = Duration(0.0, 10, 0.0, 1)


def measured(bundle: Bundle, **plan: Any) -> dict[str, Any]:
    """A report as `--json` writes and reads it."""
    plan = {"duration": SHORT, "wanted": Wanted(("ort-cpu",))} | plan
    report: dict[str, Any] = json.loads(json.dumps(session.run(bundle, Plan(**plan), lambda _line: None)))
    return report
