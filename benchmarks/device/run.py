"""The run on a device: `benchmarks/on_device.sh`, or `python -m edgebird.benchmarks.device.run`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from edgebird import demo
from edgebird.benchmarks.device.runner import Ended, run_steps
from edgebird.benchmarks.device.steps import RUNTIMES, DeviceRun, steps_of
from edgebird.bundle import Bundle, open_bundle
from edgebird.errors import EdgebirdError, NotInstalledError, RuntimeUnavailableError, UsageError
from edgebird.runtimes import probe_apart

_ABOUT = """Checks and measures edgebird on a computer with an NVIDIA GPU: doctor, engines, scores, speed, energy,
capacity and two minutes of listening. Each step has a limit and a log; one that fails costs itself alone. Writes one
file to send back: it holds logs and figures, no audio. About a quarter of an hour for each runtime. Needs no root."""

_AT_ONCE = 4  # steps of a dry run, which measures nothing


def main(arguments: Sequence[str] | None = None) -> int:
    """0: all steps did what they must; 1: some did not; 2: wrong usage."""
    given = _parser().parse_args(arguments)
    report = given.out / f"edgebird-report-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz"
    with tempfile.TemporaryDirectory(prefix="edgebird-device-") as place:
        logs = Path(place) / "report"
        logs.mkdir()
        try:
            bundle = _bundle(given.bundle, Path(place))
            wanted = DeviceRun(_runtimes(given.runtime, given.dry), tuple(given.baseline), given.dry)
        except EdgebirdError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        shutil.copy(bundle.path / "card.json", logs)
        steps = list(steps_of(bundle, wanted, logs))
        try:
            outcomes = run_steps(steps, logs, report, _say, _AT_ONCE if given.dry else 1)
        except KeyboardInterrupt:
            print(f"stopped: {report} holds the steps before", file=sys.stderr)
            return 130
        except OSError as error:
            print(f"error: cannot write {report}: {error.strerror}", file=sys.stderr)
            return 1
    return _told(outcomes, given.dry, report)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _told(outcomes: Sequence[Ended], dry: bool, report: Path) -> int:
    """Say how it went, and where the report is."""
    wrong = [outcome for outcome in outcomes if not (outcome.refused if dry and outcome.step.on_gpu else outcome.right)]
    right = len(outcomes) - len(wrong)
    if dry:
        kind = "a dry run: steps that need a GPU must be refused in one line, the others must succeed"
        print(f"{kind}: {right} of {len(outcomes)} did", file=sys.stderr)
    else:
        print(f"{right} of {len(outcomes)} steps succeeded. Please send {report} back: it holds the card, logs and "
              "figures, no audio.", file=sys.stderr)  # fmt: skip
    for outcome in wrong:
        print(f"  {outcome}", file=sys.stderr)
    print(report)
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("on_device.sh", description=_ABOUT)
    parser.add_argument("bundle", nargs="?", type=Path, metavar="BUNDLE", help="a folder with a card.json; the demo's")
    names = f"{', '.join(RUNTIMES)}; those that are installed"
    parser.add_argument("runtime", nargs="*", metavar="RUNTIME", help=names)
    original = "TorchScript file of the original, timed on the GPU in turns; loading it runs the code in it"
    parser.add_argument("--baseline", action="append", default=[], type=Path, metavar="FILE", help=original)
    parser.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where the report goes; here")
    parser.add_argument("--dry", action="store_true", help="no GPU is expected: are its steps refused as they should?")
    return parser


def _bundle(path: Path | None, place: Path) -> Bundle:
    """The bundle, or a copy of the demo's: engines are built into it."""
    if path is None:
        path = place / "demo"
        shutil.copytree(demo.BUNDLE, path)
    return open_bundle(path)


def _runtimes(asked: Sequence[str], dry: bool) -> tuple[str, ...]:
    """Those that were asked for, else those whose engines are installed, whether they can run or not."""
    if unknown := set(asked) - set(RUNTIMES):
        raise UsageError(f"{', '.join(sorted(unknown))}: wanted {', '.join(RUNTIMES)}")
    if asked or dry:
        return tuple(asked) or ("ort-cuda",)
    answers = dict(probe_apart(RUNTIMES))
    found = [name for name, answer in answers.items() if not isinstance(answer, NotInstalledError)]
    if found:
        return tuple(found)
    reasons = "; ".join(str(answer) for answer in answers.values())
    raise RuntimeUnavailableError(f"no engine for a GPU is installed: {reasons}")


if __name__ == "__main__":
    sys.exit(main())
