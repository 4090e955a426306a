"""What edgebird itself costs for a window: the null runtime on the way that audio takes, beside the bare engine."""

from __future__ import annotations

from collections import deque
from typing import Any

from edgebird.benchmarks.material import Material
from edgebird.benchmarks.method import Duration, Step, take_turns
from edgebird.benchmarks.subjects import Subject
from edgebird.bundle import Bundle
from edgebird.detection import analyse, settings_for
from edgebird.runtimes import RuntimeOptions, open_runtime
from edgebird.types import AudioBlock

_DURATION = Duration(seconds=0.3, iterations=20, warm_up_s=0.1, warm_up_runs=2)
_BLOCK_S = 1.0


def measure(bundle: Bundle, subject: Subject, material: Material, hop_s: float) -> dict[str, Any]:
    """Milliseconds a window of cutting, stacking, checking and pooling; and of the bare engine, where it can be had.

    The bare engine is ONNX Runtime's session with the product's settings, called as its own examples do. Medians, in
    turns.
    """
    card, size = bundle.card, round(_BLOCK_S * material.rate)
    null = open_runtime(bundle, "null", RuntimeOptions(next(iter(card.precisions))))  # any: bf16 has no graph
    blocks = [AudioBlock(material.audio[at : at + size], at) for at in range(0, len(material.audio), size)]

    def nothing_but_edgebird() -> None:
        deque(analyse(blocks, null, settings_for(card, hop_s)), maxlen=0)

    steps: list[Step] = [nothing_but_edgebird]
    if subject.runtime.name == "ort-cpu":
        steps.append(_bare(bundle, subject, material))
    medians = [sorted(turns.samples)[len(turns.samples) // 2] for turns in take_turns(steps, _DURATION)]
    own = medians[0] / len(material.windows)
    found: dict[str, Any] = {"null_ms": own}
    if len(medians) > 1:
        found |= {"bare_ms": medians[1], "share": own / medians[1]}
    return found


def _bare(bundle: Bundle, subject: Subject, material: Material) -> Step:
    from edgebird.runtimes.ort_session import session_of

    session = session_of(bundle.model(subject.precision), threads=subject.threads, frugal=True)
    inputs = {bundle.card.input.name: material.windows[0].samples[None]}
    outputs = [bundle.card.output.name]
    return lambda: session.run(outputs, inputs)
