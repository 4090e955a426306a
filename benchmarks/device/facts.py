"""What the device is: the driver's, the system's and pip's own words."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_COMMANDS = (
    ("nvidia-smi", "-q"),
    ("nvidia-smi", "topo", "-m"),
    ("nvpmodel", "-q"),
    ("jetson_clocks", "--show"),
    ("lscpu",),
    ("free", "-m"),
    ("uname", "-a"),
    ("dpkg", "-l", "nvidia-jetpack*", "tensorrt*", "libnvinfer*", "python3-libnvinfer*", "libcudnn*"),
    (sys.executable, "-m", "pip", "list", "--format", "freeze"),
)
_FILES = ("/etc/nv_tegra_release", "/proc/driver/nvidia/version", "/etc/os-release")
_TIMEOUT_S = 15


def facts() -> Iterator[Mapping[str, Any]]:
    """What each command and file says; one that is not there is no failure."""
    for command in _COMMANDS:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            yield {"command": command, "missing": str(error)}
        else:
            yield {"command": command, "exit": done.returncode, "told": done.stdout.splitlines()}
    for file in _FILES:
        if Path(file).is_file():
            yield {"file": file, "told": Path(file).read_text(encoding="utf-8", errors="replace").splitlines()}
