"""The Pythons with a real onnxruntime-gpu that the tests use, and a CUDA that computes nothing for them.

The GPU wheel excludes the CPU wheel, so it has a Python of its own: EDGEBIRD_ORT_GPU_PYTHON names one with the newest
version, EDGEBIRD_ORT_GPU_OLDEST_PYTHON one with the oldest that edgebird promises
(`python -m venv X && X/bin/pip install 'edgebird[gpu]'`).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import hollow_cuda

ROOT = Path(__file__).parents[1]
NEWEST, OLDEST = "EDGEBIRD_ORT_GPU_PYTHON", "EDGEBIRD_ORT_GPU_OLDEST_PYTHON"
_WHERE = "import json, onnxruntime as ort; print(json.dumps([ort.__version__, ort.__file__]))"


def gpu_python(variable: str = NEWEST) -> str:
    """The Python that a variable names; skips without it, fails where EDGEBIRD_REQUIRE promises `ort-gpu`."""
    python = os.environ.get(variable)
    if not python:
        if "ort-gpu" in os.environ.get("EDGEBIRD_REQUIRE", "").split(","):
            pytest.fail(f"ort-gpu was promised by EDGEBIRD_REQUIRE, and {variable} is not set")
        pytest.skip(f"{variable} names no Python with onnxruntime-gpu")
    return python


def run(python: str, code: str, *arguments: object, **variables: str) -> Any:
    """What a program prints, which is nothing but JSON, in an environment with these variables added."""
    done = subprocess.run(
        [python, "-c", code, *map(str, arguments)],
        cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def installed(python: str) -> tuple[str, Path]:
    """Version and folder of its onnxruntime."""
    version, file = run(python, _WHERE)
    return version, Path(file).parent


def hollow(python: str, tmp_path: Path) -> Path:
    """The folder for LD_LIBRARY_PATH in which its providers find a CUDA that computes nothing; made once a test run."""
    version, package = installed(python)
    folder = tmp_path.parent / f"hollow-{version}"
    if folder.exists():
        return folder
    if tool := hollow_cuda.missing_tool():
        if "ort-gpu" in os.environ.get("EDGEBIRD_REQUIRE", "").split(","):
            pytest.fail(f"ort-gpu was promised by EDGEBIRD_REQUIRE, and {tool} is missing")
        pytest.skip(f"{tool} is missing")
    return hollow_cuda.build(package, folder)


SESSION = """
import json, sys
from edgebird.errors import RuntimeUnavailableError
from edgebird.runtimes.ort_session import session_of
from pathlib import Path
told = []
for model in sys.argv[1:]:
    try:
        told.append(session_of(Path(model), "ort-cuda").get_providers()[0])
    except RuntimeUnavailableError as error:
        told.append(str(error))
print(json.dumps(told))
"""


def assert_opens_on_gpu_wheels(tmp_path: Path, *models: Path) -> None:
    """Every wheel's own CUDA provider takes every node of these graphs."""
    for variable in (OLDEST, NEWEST):
        python = gpu_python(variable)
        libraries = hollow(python, tmp_path)
        told = run(python, SESSION, *models, LD_LIBRARY_PATH=str(libraries))
        assert told == ["CUDAExecutionProvider"] * len(models), installed(python)[0]
