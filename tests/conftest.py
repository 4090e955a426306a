"""What the tests share: small real networks, exported once a run, and the rule that a promised part must be there."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import soundfile
from hypothesis import HealthCheck, settings

from edgebird.bundle import Bundle, GoldenData, open_bundle
from edgebird.errors import RuntimeUnavailableError
from edgebird.export.families.folds import windows

# What sums over a whole window may differ by: on ARM, OpenVINO's order gives 2.4e-05.
SUMS = 5e-5 if platform.machine() == "aarch64" else 1e-5

os.environ.pop("PYTHONUNBUFFERED", None)  # users have it not: what cannot be written is seen at the end too
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several: with a thread on each core, torch's would wait for each other
    os.environ["OMP_NUM_THREADS"] = "1"


# How long an example takes says what else the machine does, or that it is emulated, and nothing of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def require(module: str) -> ModuleType:
    """Import a module or skip; fail where EDGEBIRD_REQUIRE (names, or `all`) promises that it is there."""
    promised = os.environ.get("EDGEBIRD_REQUIRE", "").split(",")
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if module in promised or "all" in promised:
            pytest.fail(f"{module} was promised by EDGEBIRD_REQUIRE: {error}")
        pytest.skip(f"{module} is not installed", allow_module_level=True)


def needs_bf16() -> None:
    """Skip where the CPU has no bf16; fail where EDGEBIRD_REQUIRE promises it."""
    from edgebird.runtimes.ov_device import check_bf16, core_of

    try:
        check_bf16(*core_of("openvino"), "openvino")
    except RuntimeUnavailableError as error:
        if "bf16" in os.environ.get("EDGEBIRD_REQUIRE", "").split(","):
            pytest.fail(f"bf16 was promised by EDGEBIRD_REQUIRE: {error}")
        pytest.skip(str(error))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: of two processes, none is left alone with them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one of the processes makes, and all of them read: an export takes a minute on a busy machine."""
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            part = shared.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(shared)
    return shared


@pytest.fixture(scope="session", autouse=True)
def _a_cache_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What tests and the commands they start keep for the user is not kept for the user."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def few_golden_windows() -> Iterator[pytest.MonkeyPatch]:
    """Exports of the fold models with the first twelve of their golden windows, those that the author's code scored:
    all of them would take five times as long. Undo it where all count.
    """
    every = windows.golden_windows()
    count = len(windows.FIRST)
    first = GoldenData(every.audio[:count], every.scores[:count], every.names[:count], every.recordings[:count])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "golden_windows", lambda: first)
        yield patch


@pytest.fixture(autouse=True)
def _engines_are_opened_here_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another process before each that is new; test_apart.py has those."""
    monkeypatch.setattr("edgebird.runtimes.apart.enabled", False)


@pytest.fixture(scope="session")
def narrow_folds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of narrow networks in the original layout, one for each experiment."""
    require("torch")
    from tests.seeded import FOLD_NUMBER, narrow_architecture, save_checkpoint, seeded_model

    files = {name: Path(f"{name}_eca_nfnet_l0") / f"fold_{number}_model.bin" for name, number in FOLD_NUMBER.items()}

    def save(folder: Path) -> None:
        for name, file in files.items():
            save_checkpoint(folder / file, seeded_model(name, architecture=narrow_architecture()))

    folder = once(tmp_path_factory, "folds", save)
    return {name: folder / file for name, file in files.items()}


@pytest.fixture(scope="session")
def exported(narrow_folds: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bundle of the narrow exp105 fold. Read only: take `bundle_copy` to change it, or to build engines in it."""
    require("onnx")
    from edgebird.export.exporter import ExportRequest, export_bundle

    def export(folder: Path) -> None:
        export_bundle(ExportRequest((narrow_folds["exp105"],), folder / "exp105"))

    bundle = open_bundle(once(tmp_path_factory, "bundles", export) / "exp105")
    yield bundle.path
    assert {path.name for path in bundle.path.iterdir()} == {"card.json", *bundle.card.hashes()}, "a test changed it"


@pytest.fixture
def bundle(exported: Path) -> Bundle:
    return open_bundle(exported)


@pytest.fixture
def bundle_copy(exported: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change."""
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def in_int8(narrow_folds: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, list[str]]:
    """An ensemble of both kinds of frontend with graphs in INT8 and in INT8 and FP16, and what its export told.

    Rounded and chosen with fewer windows: a choice among narrow networks takes a minute otherwise. Read only.
    """
    require("onnx")
    from edgebird.export.exporter import ExportRequest, export_bundle
    from edgebird.export.precisions import int8

    def export(folder: Path) -> None:
        folds, told = (narrow_folds["exp105"], narrow_folds["exp107"]), list[str]()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(int8, "_SEEN", (48, 150))  # as for users: with ranges of fewer it is refused
            patch.setattr(int8, "_ROUND", (5, 3))
            patch.setattr(int8, "_CHOOSE", (5, 3))
            export_bundle(ExportRequest(folds, folder / "bundle", precisions=("int8", "int8+fp16")), told.append)
        (folder / "told.json").write_text(json.dumps(told))

    folder = once(tmp_path_factory, "int8", export)
    return open_bundle(folder / "bundle"), json.loads((folder / "told.json").read_text())


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23.3 s of real audio (the golden windows), 32 kHz, 16 bit."""
    path = tmp_path_factory.mktemp("audio") / "20230524_153000.WAV"
    soundfile.write(path, windows.golden_audio().reshape(-1)[: int(23.3 * 32000)], 32000, subtype="PCM_16")
    return path


@pytest.fixture(autouse=True)
def _no_bundle_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEBIRD_BUNDLE", raising=False)
