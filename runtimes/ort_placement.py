"""Which nodes of a graph a provider of ONNX Runtime leaves to the CPU: a refused session does not say it.

A child process opens the graph once more, the CPU allowed, and has ONNX Runtime tell where each node went. What a
provider's library does to a process, or prints, stays in that child.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_TIMEOUT_S = 120.0
_CHILD = """
import json, sys
import onnxruntime as ort
from edgebird.runtimes.ort_libraries import preload
model, provider = sys.argv[1:]
preload(ort)
options = ort.SessionOptions()
options.log_severity_level = 0
if hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
session = ort.InferenceSession(model, options, providers=[provider, "CPUExecutionProvider"])
if options.log_severity_level:
    parts = [part for part in session.get_provider_graph_assignment_info() if part.ep_name == "CPUExecutionProvider"]
    print(json.dumps([[node.op_type, node.name] for part in parts for node in part.get_nodes()]))
"""
# Before 1.24 it tells on stderr, in lines of this form, after a heading for each provider.
_HEADING = re.compile(r"Node\(s\) placed on \[(\w+)\]")
_LINE = re.compile(r"VerifyEachNodeIsAssignedToAnEp\]\s+(\w+) \((.*)\)\s*(?:\x1b.*)?$")


@dataclass(frozen=True, slots=True)
class Placed:
    """A node that went to the CPU."""

    operator: str
    node: str


def left_to_cpu(model: Path, provider: str) -> list[Placed]:
    """The nodes of a model that the provider does not take, in order; none if ONNX Runtime does not tell them."""
    command = [sys.executable, "-c", _CHILD, str(model), provider]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    if lines := done.stdout.splitlines():
        return [Placed(operator, node) for operator, node in json.loads(lines[-1])]
    return list(_from_log(done.stderr))


def _from_log(text: str) -> list[Placed]:
    provider, found = "", []
    for line in text.splitlines():
        if heading := _HEADING.search(line):
            provider = heading[1]
        elif (node := _LINE.search(line)) and provider == "CPUExecutionProvider":
            found.append(Placed(node[1], node[2]))
    return found
