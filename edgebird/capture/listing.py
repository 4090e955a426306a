"""`python -m edgebird.capture.listing` prints the microphones of this machine as JSON.

PortAudio may hang or crash, so the command line asks a process of its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from edgebird.capture.devices import inputs, load_sounddevice
from edgebird.capture.pulse import is_monitor, pulse_sources
from edgebird.capture.serve import CaptureError, hush


def _main() -> None:
    hush()
    try:
        devices = inputs(load_sounddevice())
    except CaptureError as error:
        print(json.dumps({"error": str(error)}))
        return
    devices += [source for source in pulse_sources() if not is_monitor(source.name)]
    print(json.dumps({"devices": [asdict(device) for device in devices]}))


if __name__ == "__main__":
    _main()
