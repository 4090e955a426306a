"""A report as one page to look at: everything is in the file, nothing is loaded and no script runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from edgebird.benchmarks.report import Run
from edgebird.benchmarks.table import label
from edgebird.pictures.samples import curve, histogram, series

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #5b6470; --line: #d5dae0; --mark: #1f6feb;
  --bad: #b42318; --good: #18794e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --paper: #14171b; --soft: #9aa4b0; --line: #343b44;
  --mark: #79b0ff; --bad: #ff8f80; --good: #63d39b; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .85rem; }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 11px; }
.axis { stroke: var(--line); } .bar, .dot { fill: var(--mark); } .curve { fill: none; stroke: var(--mark);
  stroke-width: 2; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th:first-child, td:first-child, .words td { text-align: left; }
th { white-space: nowrap; }
.STEADY { color: var(--good); } .NOISY, .THROTTLED, .INVALID { color: var(--bad); }
"""
_COLUMNS = ("min", "mean", "p50", "p90", "p95", "p99", "p999", "max")


def page_of(report: Mapping[str, Any]) -> str:
    """The HTML of a report, in light or dark as the reader has it."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>edgebird bench</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>edgebird bench: {escape(report['machine']['cpu'])}</h1>\n"
        + "".join(_body(report))
        + "</main>\n</body>\n</html>\n"
    )


def _body(report: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Runs</h2>\n" + _summary(report["runs"])
    yield "<ul>\n" + "".join(f"<li>{escape(line)}</li>\n" for line in _sentences(report)) + "</ul>\n"
    yield from (_run(run) for run in report["runs"] if "latency_ms" in run)
    yield "<h2>The machine</h2>\n" + _words(report["machine"])
    yield "<h2>Before and after</h2>\n" + _words(
        {f"{when} {key}": value for when in ("before", "after") for key, value in report["conditions"][when].items()}
    )
    yield "<h2>What was scored</h2>\n" + _words(
        {**report["audio"], **report["bundle"]["sha256"], **report["bundle"].get("weights", {})}
    )


def _summary(runs: list[Run]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in ("run, ms", *_COLUMNS, "variation", "samples", "verdict"))
    rows = "".join(f"<tr>{''.join(_summary_cells(run))}</tr>\n" for run in runs)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n'


def _summary_cells(run: Run) -> Iterator[str]:
    yield f'<th scope="row">{escape(_title(run))}</th>'
    latency = run.get("latency_ms")
    yield from (f"<td>{latency[name]:.2f}</td>" if latency else "<td>-</td>" for name in _COLUMNS)
    yield f"<td>{latency['cv']:.1%}</td><td>{len(run['samples_ms'])}</td>" if latency else "<td>-</td><td>0</td>"
    yield f'<td class="{run["verdict"]}">{run["verdict"]}</td>'


def _title(run: Run) -> str:
    streams = f", {run['streams']} streams" if "streams" in run else ""
    return f"{run['scenario']} {label(run)}{streams}"


def _sentences(report: Mapping[str, Any]) -> Iterator[str]:
    runs = report["runs"]
    for run in runs:
        if run["reasons"]:
            yield f"{_title(run)} is {run['verdict']}: {'; '.join(run['reasons'])}."
    for one in report["ratios"]:
        this, that = (_title(runs[one[key]]) for key in ("run", "to"))
        yield f"{this}: {one['value']:.3f} times as long a window as {that} (95 %: {one['low']:.3f}-{one['high']:.3f})."
    for one in report.get("compared", ()):
        found = one["ratio"]
        yield (
            f"{one['name']}: {found['value']:.3f} times as long as in the earlier report "
            f"(95 %: {found['low']:.3f}-{found['high']:.3f})."
        )
    yield from (f"Not measured: {reason}." for reason in report["refused"])


def _run(run: Run) -> str:
    title, samples = escape(_title(run)), run["samples_ms"]
    charts = (
        (histogram(samples), "How often each latency came, in ms"),
        (curve(samples), "Share of the samples that took at most so many ms"),
        (series(samples), "Every sample in the order of time, in ms"),
    )
    figures = "".join(f"<figure>{svg}<figcaption>{caption}</figcaption></figure>\n" for svg, caption in charts)
    shown = {key: value for key, value in run.items() if key not in ("samples_ms", "rounds", "latency_ms", "reasons")}
    return (
        f'<section>\n<h2>{title}</h2>\n<div class="charts">\n{figures}</div>\n'
        f"<details><summary>All that is known of this run</summary>\n{_words(shown)}</details>\n</section>\n"
    )


def _words(values: Mapping[str, Any]) -> str:
    """Names and values, nested ones with their path."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}</th><td>{escape(text)}</td></tr>\n'
        for name, text in _flat(values)
    )
    return f'<div class="table"><table class="words"><tbody>\n{rows}</tbody></table></div>\n'


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}: ")
        else:
            yield before + key, _text(value)


def _text(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return str(value)
