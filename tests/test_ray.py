"""`detect --on ray`, on a cluster of this computer: what comes of it is what one program makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import require
from tests.test_resume import archive, birds, detect, tables

__all__ = ["birds"]


# Of `make nightly`: it takes two interpreters more, and ten seconds, to see what doubles of Ray cannot show.
@pytest.mark.slow
def test_ray_makes_the_tables_that_one_program_makes(
    tmp_path: Path, birds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are processes of Ray: what is given to them has to be pickled, and what they raise comes back."""
    require("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setattr("edgebird.archives.distributing._SPAN_S", 5.0)
    audio = archive(tmp_path / "audio", 3)
    (audio / "R0" / "20230502_000000.wav").write_text("no sound")
    wanted = (audio, "--bundle", birds, "--format", "csv", "--out")
    assert detect(*wanted, tmp_path / "alone")[0] == 1
    code, told = detect(*wanted, tmp_path / "together", "--resume", "--on", "ray")
    assert (code, told.count("cannot read")) == (1, 1)
    assert tables(tmp_path / "together") == tables(tmp_path / "alone")
    assert len(tables(tmp_path / "alone")) == 3
