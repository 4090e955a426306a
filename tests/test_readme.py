"""The README says what is true: its Python runs, and its commands have the options it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import soundfile
import typer.testing

from edgebird.cli.app import make_app
from tests.foreign import RATE, scene, tone_bundle

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_five_lines_of_python_print_the_birds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that detect in a recording, and those that listen: here to a recording too."""
    codes = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    detecting, listening = codes
    assert "mic=True" in listening
    monkeypatch.chdir(tmp_path)
    tone_bundle(Path("birds"))
    soundfile.write("dawn.wav", scene(5, [(1, 0.8, 0, 5)]), RATE)
    exec(compile(detecting, "README.md", "exec"), {})
    assert re.fullmatch(r"0\.0 Middle Tone 0\.[78]\d*\n", capsys.readouterr().out)
    exec(compile(listening.replace("mic=True", "file='dawn.wav'"), "README.md", "exec"), {})
    assert re.fullmatch(r"None Middle Tone 0\.[78]\d*\n", capsys.readouterr().out)


def _commands() -> list[tuple[str, str]]:
    """Every `edgebird COMMAND ...` line in a code block, with the file it is in."""
    found = []
    for path in TEXTS:
        for block in re.findall(r"```\w*\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            found += [(path.name, line.strip()) for line in block.splitlines() if line.strip().startswith("edgebird ")]
    return found


@pytest.mark.parametrize(("where", "line"), _commands())
def test_a_command_that_is_shown_exists_with_its_options(where: str, line: str) -> None:
    words = line.partition("#")[0].split()
    result = typer.testing.CliRunner().invoke(make_app(), [words[1], "--help"])
    assert result.exit_code == 0, f"{where}: {line}"
    for option in (word for word in words if word.startswith("--")):
        assert option in result.output, f"{where}: {line}"


def test_the_two_commands_of_the_readme_are_those_of_the_makefile() -> None:
    shown = re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert shown == ["demo", "test"]
    assert set(shown) <= set(targets)
