"""edgebird: bird-sound fold models as proven ONNX graphs, listening on small computers.

    import edgebird

    bundle = edgebird.open_bundle("birds")
    runtime = edgebird.open_runtime(bundle)
    for event in edgebird.detect("dawn.wav", runtime):
        print(event["start_s"], event["common_name"], event["score"])

    for event in edgebird.listen(mic=True, bundle="birds"):
        print(event)

Names are loaded when they are used, so that importing edgebird costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "open_bundle": "edgebird.bundle",
    "seal": "edgebird.bundle",
    "open_runtime": "edgebird.runtimes",
    "RuntimeOptions": "edgebird.runtimes",
    "detect": "edgebird.detection",
    "listen": "edgebird.live.listening",
    "verify": "edgebird.verification",
    "EdgebirdError": "edgebird.errors",
}
__all__ = [
    "EdgebirdError",
    "RuntimeOptions",
    "__version__",
    "detect",
    "listen",
    "open_bundle",
    "open_runtime",
    "seal",
    "verify",
]

if TYPE_CHECKING:
    from edgebird.bundle import open_bundle, seal
    from edgebird.detection import detect
    from edgebird.errors import EdgebirdError
    from edgebird.live.listening import listen
    from edgebird.runtimes import RuntimeOptions, open_runtime
    from edgebird.verification import verify


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
