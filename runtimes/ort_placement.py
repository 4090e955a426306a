"""Which nodes of a graph a provider of ONNX Runtime leaves to the CPU: a refused session does not say it.

A child process opens the graph once more, the CPU allowed, and has ONNX Runtime tell where each node went. What a
provider's library does to a process, or prints, stays in that child. It costs a start of the engine and, on a GPU, the
memory of the graph for that time; it is only asked after a refusal.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgebird.bundle import Bundle
from edgebird.card import OPSET

log = logging.getLogger(__name__)

_SHOWN = 3  # nodes that an error names
_TIMEOUT_S = 120.0
_MARK = "edgebird placement "
# The folder in which edgebird was started is no place to import from: it may hold a json.py.
_CHILD = """
import sys
del sys.path[0]
import json
path, model, provider, given, mark = map(json.loads, sys.argv[1:])
sys.path[:] = path
import onnxruntime as ort
from edgebird.runtimes.ort_libraries import preload
preload(ort)
options = ort.SessionOptions()
tells = hasattr(ort.InferenceSession, "get_provider_graph_assignment_info")
options.log_severity_level = 4 if tells else 0
if tells:
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
providers, settings = [provider, "CPUExecutionProvider"], [given, {}]
session = ort.InferenceSession(model, options, providers, settings, enable_fallback=0)
if session.get_providers()[0] != provider:
    sys.exit(f"took {session.get_providers()}")
parts = session.get_provider_graph_assignment_info() if tells else []
nodes = [[node.op_type, node.name] for part in parts if part.ep_name == providers[1] for node in part.get_nodes()]
print(mark + json.dumps(nodes if tells else None))
"""
# Before 1.24 it tells on stderr, in lines of this form, after a heading for each provider.
_HEADING = re.compile(r"Node\(s\) placed on \[(\w+)\]")
_LINE = re.compile(r"VerifyEachNodeIsAssignedToAnEp\]\s+(\w+) \((.*)\)\s*(?:\x1b.*)?$")


@dataclass(frozen=True, slots=True)
class Placed:
    """A node that went to the CPU."""

    operator: str
    node: str


def left_to_cpu(model: Path, provider: str, settings: Mapping[str, str] | None = None) -> list[Placed]:
    """The nodes of a model that the provider does not take, in order; none if that cannot be found out.

    settings: of the provider, as for the session that was refused.
    """
    told = (sys.path, str(model.absolute()), provider, dict(settings or {}), _MARK)
    command = [sys.executable, "-c", _CHILD, *map(json.dumps, told)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("nodes of %s: %s", model, error)
        return []
    answers = [line.removeprefix(_MARK) for line in done.stdout.splitlines() if line.startswith(_MARK)]
    if done.returncode or not answers:
        log.debug("nodes of %s: exit code %d: %s", model, done.returncode, done.stderr.strip()[-500:])
        return []
    found = json.loads(answers[-1])
    return _from_log(done.stderr) if found is None else [Placed(operator, node) for operator, node in found]


def _from_log(text: str) -> list[Placed]:
    provider, found = "", []
    for line in text.splitlines():
        if heading := _HEADING.search(line):
            provider = heading[1]
        elif (node := _LINE.search(line)) and provider == "CPUExecutionProvider":
            found.append(Placed(node[1], node[2]))
    return found


def explained(
    error: Exception, name: str, provider: str, bundle: Bundle, precision: str, settings: Mapping[str, str]
) -> str:
    """Why a session was refused whose nodes do not all run on the GPU: which, and what mends it."""
    import onnxruntime as ort

    model, opset = bundle.model(precision), bundle.card.precisions[precision].opset
    left = left_to_cpu(model, provider, settings)
    nodes = ", ".join(f"{placed.node} ({placed.operator})" for placed in left[:_SHOWN])
    more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
    where = f"{model.name} (opset {opset}) in ONNX Runtime {ort.__version__}"
    if name == "ort-tensorrt":
        return f"{name}: TensorRT does not take all of {where}: {nodes or 'it does not say which nodes'}{more}"
    cure = "a newer onnxruntime-gpu may have it"
    if opset > OPSET:
        cure = f"export the bundle again, edgebird writes opset {OPSET} now, or install onnxruntime-gpu 1.27 or newer"
    return f"{name}: no CUDA kernel for a part of {where}: {nodes or str(error).partition(': ')[2]}{more}: {cure}"
