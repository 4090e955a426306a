"""Packaging: what `pip install` brings works without the checkout, also when that was cloned without symbolic links."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "edgebird": "edgebird",
    "edgebird/export": "export",
    "edgebird/runtimes": "runtimes",
    "edgebird/benchmarks": "benchmarks",
}

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path, path: Path | None = None) -> str:
    """The stdout of a command; path: PYTHONPATH."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module", params=["with links", "without links"])
def tree(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that git knows, so that what nobody added is missing here as it would be in a clone."""
    copy = tmp_path_factory.mktemp("tree")
    for name in filter(None, run("git", "ls-files", "-z", cwd=ROOT).split("\0")):
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            if request.param == "with links":
                target.symlink_to(os.readlink(source))
            else:
                target.write_text(os.readlink(source))  # what git makes of a link where there are none
        elif source.exists():
            shutil.copy(source, target)
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", tree, cwd=tree)
    (path,) = (tree / "dist").glob("*.whl")
    return path


def test_the_wheel_holds_every_file_of_the_tree_and_no_other(tree: Path, wheel: Path) -> None:
    """A module or data file that is left out is missed by the first user, not by us."""
    wanted = {
        f"{package}/{path.relative_to(tree / folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for path in (tree / folder).rglob("*")
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts
    }
    wanted -= set(PACKAGES)  # the links, where they are files
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == wanted
    assert {"edgebird/py.typed", "edgebird/export/data/recordings/recordings.csv", "edgebird/cli/app.py"} <= found


def test_the_wheel_says_what_it_needs(wheel: Path) -> None:
    """`pip install 'edgebird[cpu]'` is what the error messages advise."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        headers = HeaderParser().parsestr(archive.read(metadata).decode())
        (scripts,) = [name for name in archive.namelist() if name.endswith("/entry_points.txt")]
        assert "edgebird = edgebird.cli:main" in archive.read(scripts).decode()
    assert headers["Requires-Python"] == ">=3.10"
    assert {"cpu", "gpu", "export", "dev"} <= set(headers.get_all("Provides-Extra") or ())
    requirements = headers.get_all("Requires-Dist") or []
    base = {re.split(r"[^\w-]", line)[0] for line in requirements if "extra ==" not in line}
    assert base == {"numpy", "typer", "rich", "soundfile", "soxr", "tomli"}  # tomli on Python 3.10 alone
    (tensorrt,) = [line for line in requirements if re.match(r"tensorrt\b(?!-)", line)]  # gigabytes: of its extra alone
    assert {"10.3", '"x86_64"', '"linux"', 'extra == "tensorrt"'} <= set(
        re.findall(r'extra == "\S+"|"\w+"|[\d.]+', tensorrt)
    )


WHERE = """
import edgebird, edgebird.benchmarks.latency, edgebird.detection, edgebird.export.labels, edgebird.runtimes.ort
from importlib import resources
from edgebird.export.families.folds.labels import birdclef2023
assert len(birdclef2023()) == 264
assert resources.files("edgebird.export").joinpath("data/recordings/CHE_01_20190101_163410.ogg").is_file()
print(edgebird.__file__, edgebird.runtimes.__file__, edgebird.export.__file__, edgebird.benchmarks.__file__)
"""


def test_the_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """With its three folders as packages, and the data files where they are looked for."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    version = run(sys.executable, "-m", "edgebird", "--version", cwd=tmp_path, path=site)
    assert re.fullmatch(r"edgebird \d+\.\d+\.\d+\n", version)
    for file in run(sys.executable, "-c", WHERE, cwd=tmp_path, path=site).split():
        assert Path(file).is_relative_to(site)


# In the place of dpkg-query, apt-get, make and sudo: what is installed, what a package would remove, and what was done.
STUBS = {
    "dpkg-query": """case " $REMOVED " in
        *" ${*: -1} "*) echo 'deinstall ok config-files' ;;
        *" python3-gi "*) echo 'hold ok installed' ;;
        *) echo 'install ok installed' ;;
    esac""",
    "apt-get": """case "$*" in
        *--simulate*pulseaudio) echo 'Remv pipewire-alsa [1.4]'; echo 'Inst pulseaudio (17)' ;;
        *--simulate*) ;;
        *) echo "apt-get $*" >>"$DONE" ;;
    esac""",
    "make": """echo "make $* $EDGEBIRD_REQUIRE" >>"$DONE" """,
    "sudo": '"$@"',
}


@pytest.mark.parametrize(
    ("removed", "installed", "promised"),
    [
        ("", None, True),
        ("gcc systemd", "gcc systemd", True),  # removed, their settings left
        ("gcc pulseaudio", "gcc", False),  # on a desktop with PipeWire
        ("pulseaudio", None, False),
    ],
)
def test_ci_installs_what_is_missing_and_removes_nothing(
    tmp_path: Path, removed: str, installed: str | None, promised: bool
) -> None:
    for name, script in STUBS.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DONE": str(tmp_path / "done"), "REMOVED": removed}
    environment = os.environ | given | {"EDGEBIRD_PYTHONS": "", "EDGEBIRD_REQUIRE": ""}
    ended = subprocess.run([ROOT / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    done = (tmp_path / "done").read_text().splitlines()
    installs = [line.rpartition("--no-install-recommends ")[2] for line in done if " install " in line]
    assert installs == ([installed] if installed else [])
    assert all("--no-remove" in line for line in done if " install " in line)
    (test,) = [line for line in done if line.startswith("make test ")]
    assert ("pulseaudio" in test) == promised
    assert ("pulseaudio is not installed, for it would remove pipewire-alsa" in ended.stderr) != promised
    assert not any("tensorrt" in line.replace("tensorrt_rtx", "") for line in done), "gigabytes that no test needs"
