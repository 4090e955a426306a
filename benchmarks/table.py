"""A report as a person reads it in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgebird.benchmarks.report import Run


def times(factor: float) -> str:
    """Return how many times real time something is: with a decimal below 10, for a slow computer is not at rest."""
    return f"{factor:.0f}" if factor >= 9.95 else f"{factor:.2g}"


def lines(report: dict[str, Any], window_s: float) -> Iterator[str]:
    """The report in lines; window_s: seconds of a window of the model."""
    runs = report["runs"]
    for scenario in dict.fromkeys(run["scenario"] for run in runs):
        chosen = [run for run in runs if run["scenario"] == scenario]
        yield from aligned(_rows(scenario, chosen, window_s))
        yield from (
            f"  {label(run)} is {run['verdict']}: {'; '.join(run['reasons'])}" for run in chosen if run["reasons"]
        )
        yield from _about(report, scenario, chosen)
    yield from (f"not measured: {reason}" for reason in report["refused"])
    yield from _conditions(report)


def label(run: Run) -> str:
    """Runtime and precision of a run, with its batch size where that is not one."""
    many = f" x{run['batch']}" if run.get("batch", 1) != 1 else ""
    return f"{run['runtime']} {run['precision']}{many}"


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of cells as lines, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _rows(scenario: str, runs: Sequence[Run], window_s: float) -> list[list[str]]:
    head = {
        "single": ["single (ms)", "min", "p50", "p90", "p99", "max", "cv", "a window", "x real time", "n", "verdict"],
        "offline": ["offline (ms)", "min", "p50", "p99", "a window", "windows/s", "x real time", "n", "verdict"],
        "multi": ["multi (ms)", "streams", "min", "p50", "p99", "max", "n", "carries", "of n", "verdict"],
        "listen": ["listen (ms)", "streams", "p50", "p99", "max", "late", "lost s", "CPU %", "MB", "n", "verdict"],
    }[scenario]
    return [head, *([label(run), *_cells(run, head[1:-1], window_s), run["verdict"]] for run in runs)]


def _cells(run: Run, columns: Sequence[str], window_s: float) -> list[str]:
    """The figures of a run; one that is INVALID has none."""
    if "latency_ms" not in run:
        return ["-"] * len(columns)
    latency = run["latency_ms"]
    cells = {name: f"{latency[name]:.1f}" for name in ("min", "p50", "p90", "p99", "max")}
    cells |= {"cv": f"{latency['cv']:.1%}", "n": str(len(run["samples_ms"]))}
    if run["scenario"] == "listen":
        cells |= {"streams": str(run["streams"]), "late": str(run["missed_deadlines"])}
        cells |= {"lost s": f"{run['gap_s']:.1f}", "CPU %": f"{run['cpu_percent']:.1f}"}
        cells["MB"] = "?" if run["peak_memory_mb"] is None else f"{run['peak_memory_mb']:.0f}"
    else:
        cells |= {"a window": f"{run['window_ms']:.2f}", "windows/s": f"{run['windows_per_s']:.1f}"}
        cells["x real time"] = times(run["windows_per_s"] * window_s)
    if run["scenario"] == "multi":
        capacity = run["capacity"]
        cells |= {"streams": str(run["streams"])}
        cells["carries"] = f"{'>= ' if capacity['at_least'] else ''}{capacity['streams']}"
        cells["of n"] = str(capacity["queries"])
    return [cells[name] for name in columns]


def _about(report: dict[str, Any], scenario: str, runs: Sequence[Run]) -> Iterator[str]:
    """What the figures of a scenario mean, and what else is known."""
    right = [run for run in runs if run["verdict"] != "INVALID"]
    engines: dict[tuple[str, str], Run] = {}
    for run in right:
        engines.setdefault((run["runtime"], run["precision"]), run)
    for run in engines.values():
        yield f"  {run['runtime']} {run['precision']}: {'; '.join(_facts(run))}"
    for run in right:
        yield from (f"  {label(run)}: {line}" for line in (*_split(run), *_energy(run)))
    for one in report["ratios"]:
        if one["scenario"] == scenario:
            this, that = report["runs"][one["run"]], report["runs"][one["to"]]
            yield (
                f"  {label(this)} takes {one['value']:.3f} times as long a window as {label(that)} "
                f"(95 %: {one['low']:.3f} to {one['high']:.3f})"
            )
    if scenario == "single" and "overhead" in report:
        own = report["overhead"]
        bare = f", {own['share']:.2%} of a bare session's {own['bare_ms']:.1f} ms" if "bare_ms" in own else ""
        yield f"  overhead of edgebird itself (null runtime): {own['null_ms']:.3f} ms a window{bare}"


def _facts(run: Run) -> Iterator[str]:
    """Of an engine."""
    yield f"{run['provider']}, largest score difference {run['parity']['max_abs']:.1e}"
    if "includes" in run:
        yield run["includes"]
    if "load_ms" in run:
        of = f" of {run['first_windows']} windows" if run["first_windows"] > 1 else ""
        yield (
            f"import {run['import_ms']:.0f} ms, load {run['load_ms']:.0f} ms, "
            f"first inference{of} {run['first_ms']:.0f} ms"
        )
    memory = run.get("memory_mb", {})
    if None not in (memory.get("before"), memory.get("peak")):
        timed = run.get("peak_memory_mb")
        while_timed = "" if timed is None else f", {timed:.0f} MB while timed"
        yield f"process {memory['before']:.0f} -> {memory['peak']:.0f} MB to load it{while_timed}"


def _split(run: Run) -> Iterator[str]:
    split = run.get("split", {})
    if "parts_ms" in split:
        yield "parts " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in split["parts_ms"].items())
    elif split:
        yield f"parts unknown: {split['unknown']}"


def _energy(run: Run) -> Iterator[str]:
    for name, energy in run.get("energy", {}).items():
        yield (
            f"{name}: {energy['joules_per_window']:.2f} J a window, {energy['busy_w']:.1f} W busy, "
            f"{energy['idle_w']:.1f} W idle"
        )


def _conditions(report: dict[str, Any]) -> Iterator[str]:
    machine, after = report["machine"], report["conditions"]["after"]
    named = [machine["cpu"], f"{machine['cores']} cores", machine["gpu"], machine["power_mode"], machine["governor"]]
    hottest = max(after["temperatures_c"].values(), default=None)
    heat = "temperature unknown" if hottest is None else f"{hottest:.0f} C"
    yield f"on {', '.join(filter(None, named))}; load {report['conditions']['before']['load']:.1f}, {heat}"
    if machine["missing_sensors"]:
        yield "sensors that do not answer:" if machine["sensors"] else "no energy figures, no sensor answers:"
        yield from (f"  {name}: {why}" for name, why in machine["missing_sensors"].items())
