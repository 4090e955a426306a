"""Figures for Prometheus: what is scraped is what the events say, and rules and dashboard ask for what there is."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest
import soundfile

import edgebird
from edgebird.errors import EdgebirdError, OutputError
from edgebird.events import Event
from edgebird.sinks.remote.disks import Disks
from edgebird.sinks.remote.metrics import MetricsSink, Running
from edgebird.sinks.remote.tally import MOST_SERIES, MOST_SOURCES, Tally
from tests.conftest import require
from tests.foreign import RATE, scene, tone_bundle
from tests.live_servers import bounded, require_server, wait_until
from tests.sinking import GAP, NOON, Tape, clip_event, detection, opened

require("prometheus_client")

ROOT = Path(__file__).parents[1]
STATION = ROOT / "docs" / "station"
RULES = STATION / "prometheus-rules.yml"
RUNNING = Running("0.1.0", "ort-cpu", 'my "birds"', "fp32", 2e-6, "at_start", 1e-4)
TIME = NOON.isoformat()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def scrape(port: int) -> str:
    with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def value(text: str, series: str) -> float | None:
    """What a scrape says of a series such as `edgebird_clips_total{source="garden"}`."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def stats(name: str = "garden", audio_s: float = 60.0, scored_s: float = 55.0, **more: Any) -> Event:
    source = {"source": name, "state": "open", "level_dbfs": -51.5, "audio_s": audio_s, "scored_s": scored_s}
    source |= {"gap_s": 0.0, "waiting_s": 1.25, "drift_ppm": -50.0}
    event: Event = {"event": "stats", "source": None, "time": TIME, "windows": 24, "misses": 2, "sources": [source]}
    event |= {"latency_counts": {"0.25": 20, "1": 3, "inf": 1}, "latency_total_s": 42.5, "real_time_factor": 0.125}
    return event | {"cpu_percent": 50.0, "memory_mb": 180.0} | more


def told(state: str, name: str = "garden") -> Event:
    return {"event": "source", "source": name, "time": TIME, "state": state, "at_s": 0.0, "detail": ""}


def summary(name: str = "garden") -> Event:
    account = {"wall_s": 61.0, "scored_s": 57.5, "gap_s": 2.0, "tail_s": 1.5, "windows": 24, "detections": 1}
    return {"event": "summary", "source": name, "time": TIME, **account}


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def sink(port: int, tmp_path: Path) -> Iterator[MetricsSink]:
    made = opened(MetricsSink(f"127.0.0.1:{port}", RUNNING, Disks([tmp_path / "birds.db"])))
    yield made
    made.close()


def everything(sink: MetricsSink) -> None:
    """One event of each kind."""
    tape = Tape()
    events = [told("open"), detection(tape), GAP, {**GAP, "reason": "overrun", "end_s": 21.0}, stats()]
    events += [clip_event(tape, "x.flac"), clip_event(tape, None), {"event": "rejected", "source": "garden"}]
    events += [{"event": "retention", "source": None, "time": TIME, "deleted": ["x.flac", "y.flac"]}]
    events += [{"event": "sink", "sink": "database", "state": "failed", "error": "full"}]
    events += [{"event": "sink", "sink": "table", "state": "recovered", "lost": 7, "since": TIME}]
    events += [{"event": "engine", "engine": "ort-cpu", "state": "failed", "error": "gone"}]
    for event in events:
        sink.take(event, tape)


def test_a_scrape_says_what_the_events_said(sink: MetricsSink, port: int, tmp_path: Path) -> None:
    everything(sink)
    wait_until(lambda: "edgebird_disk_free_bytes{" in scrape(port), "a look at the disk")
    text, garden = scrape(port), 'source="garden"'
    expected = {
        f"edgebird_source_audio_seconds_total{{{garden}}}": 60,
        f"edgebird_source_scored_seconds_total{{{garden}}}": 55,
        f'edgebird_source_lost_seconds_total{{reason="stalled",{garden}}}': 6.5,
        f'edgebird_source_lost_seconds_total{{reason="overrun",{garden}}}': 1,
        f"edgebird_source_level_dbfs{{{garden}}}": -51.5,
        f"edgebird_source_drift_ratio{{{garden}}}": -50e-6,
        f"edgebird_source_waiting_seconds{{{garden}}}": 1.25,
        f"edgebird_source_up{{{garden}}}": 1,
        f'edgebird_detections_total{{code="comcuc",{garden}}}': 1,
        f"edgebird_clips_total{{{garden}}}": 1,
        "edgebird_clips_deleted_total": 2,
        "edgebird_windows_total": 24,
        "edgebird_window_misses_total": 2,
        'edgebird_window_latency_seconds_bucket{le="0.1"}': 0,
        'edgebird_window_latency_seconds_bucket{le="0.25"}': 20,
        'edgebird_window_latency_seconds_bucket{le="2.5"}': 23,
        'edgebird_window_latency_seconds_bucket{le="+Inf"}': 24,
        "edgebird_window_latency_seconds_sum": 42.5,
        "edgebird_window_latency_seconds_count": 24,
        'edgebird_sink_failing{sink="database"}': 1,
        'edgebird_sink_failing{sink="table"}': 0,
        'edgebird_sink_lost_events_total{sink="table"}': 7,
        "edgebird_engine_up": 0,
        "edgebird_real_time_ratio": 0.125,
        "edgebird_cpu_ratio": 0.5,
        "edgebird_memory_bytes": 180e6,
        'edgebird_engine_parity_max_difference{proven="at_start"}': 2e-6,
        "edgebird_engine_parity_tolerance": 1e-4,
        "edgebird_stats_timestamp_seconds": NOON.timestamp(),
    }
    assert {series: value(text, series) for series in expected} == expected
    size = value(text, f'edgebird_disk_size_bytes{{path="{tmp_path / "birds.db"}"}}')
    assert size == pytest.approx(shutil.disk_usage(tmp_path).total)
    assert 'model="my \\"birds\\""' in text


def test_a_source_that_is_lost_is_deaf_at_once_and_not_with_the_next_statistics(sink: MetricsSink, port: int) -> None:
    sink.take(stats(), None)
    for state, up in [("lost", 0), ("recovered", 1), ("silent", 1), ("closed", 0)]:
        sink.take(told(state), None)
        assert value(scrape(port), 'edgebird_source_up{source="garden"}') == up


def test_what_a_source_heard_before_it_was_opened_anew_still_counts(sink: MetricsSink, port: int) -> None:
    """A reload ends a source and begins one of the same name at nought: a counter must not go back."""
    for event in (stats(), summary(), stats(audio_s=10, scored_s=5)):
        sink.take(event, None)
    assert value(scrape(port), 'edgebird_source_audio_seconds_total{source="garden"}') == 61 + 10
    assert value(scrape(port), 'edgebird_source_scored_seconds_total{source="garden"}') == 57.5 + 5


def test_names_that_never_end_do_not_become_series_that_never_end() -> None:
    """Prometheus keeps every series for weeks: thousands of sources and species would fill its memory."""
    tally, tape = Tally(), Tape()
    for number in range(MOST_SOURCES + 50):
        tally.take(told("open", f"source{number}"))
        for code in range(100):
            tally.take(detection(tape, code=f"code{code}") | {"source": f"source{number}"})
    assert len(tally.sources) == MOST_SOURCES + 1
    assert len(tally.detections) == MOST_SERIES + 1
    assert sum(tally.detections.values()) == 100 * (MOST_SOURCES + 50)


def test_sources_that_are_counted_together_add_up_and_their_counter_never_goes_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prometheus takes a counter that goes down for one that began anew, and counts all of it a second time."""
    monkeypatch.setattr("edgebird.sinks.remote.tally.MOST_SOURCES", 1)
    tally, heard = Tally(), []
    tally.take(told("open", "garden"))
    for rest in (60.0, 61.0005):  # the account of a source may be rounded to less than its figures were
        both = [stats(name, rest, 55.0)["sources"][0] for name in ("pond", "wood")]
        tally.take(stats(sources=both))
        heard.append(tally.sources["other"].audio_s)
    tally.take(summary("pond"))
    heard.append(tally.sources["other"].audio_s + tally.sources["other"].ended_audio_s)
    tally.take(stats("wood", 62.0))
    heard.append(tally.sources["other"].audio_s + tally.sources["other"].ended_audio_s)
    assert heard == pytest.approx([120.0, 122.001, 122.001, 123.0])


def test_a_port_that_is_taken_is_told_and_tried_again(port: int, sink: MetricsSink) -> None:
    other = MetricsSink(f"127.0.0.1:{port}", RUNNING, Disks([]))
    with pytest.raises(OutputError, match=f"cannot serve metrics on 127.0.0.1:{port}: Address already in use"):
        other.open()
    sink.close()
    assert opened(other).close() == []


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(EdgebirdError, match=r"pip install 'edgebird\[metrics\]'"):
        MetricsSink("127.0.0.1:9108", RUNNING, Disks([]))


def test_a_station_is_scraped_while_it_listens(port: int, tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, scene(60, [(0, 0.9, 1, 5)]), RATE)
    bundle = tone_bundle(tmp_path / "tones").path
    settings = {"file": {"wood": song}, "realtime": True, "stats_every": 1, "hop": 0.5, "threads": 1}
    bird = 'edgebird_detections_total{code="tonlow",source="wood"}'
    with edgebird.listen(bundle=bundle, metrics_listen=f"127.0.0.1:{port}", **settings) as events:
        for event in events:
            if event["event"] == "stats" and value(text := scrape(port), bird):
                break
    assert value(text, bird) == 1
    assert value(text, 'edgebird_source_up{source="wood"}') == 1
    assert (value(text, 'edgebird_source_scored_seconds_total{source="wood"}') or 0) >= 1
    assert (value(text, "edgebird_window_latency_seconds_count") or 0) >= 1
    assert 0 <= value(text, 'edgebird_engine_parity_max_difference{proven="at_start"}') <= 1e-4  # type: ignore[operator]
    with pytest.raises(OSError, match="refused"):
        scrape(port)


# ------------------------------------------------------------------------------------------- Prometheus' own checks
def promtool(*arguments: object, given: str | None = None) -> str:
    require_server("promtool", shutil.which("promtool") is not None, "prometheus")
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_finds_nothing_wrong_with_the_figures(sink: MetricsSink, port: int) -> None:
    """`promtool check metrics` knows the rules for names, units and help."""
    everything(sink)
    promtool("check", "metrics", given=scrape(port))


def test_the_rules_alert_when_they_should_and_not_before(tmp_path: Path) -> None:
    cases = (ROOT / "tests" / "data" / "prometheus-tests.yml").read_text(encoding="utf-8")
    (tmp_path / "tests.yml").write_text(cases.replace("RULES", str(RULES)), encoding="utf-8")
    promtool("test", "rules", tmp_path / "tests.yml")


@pytest.mark.parametrize("file", [RULES, STATION / "grafana.json", STATION.parent / "station.md"], ids=lambda f: f.name)
def test_rules_dashboard_and_page_ask_for_figures_that_there_are(sink: MetricsSink, port: int, file: Path) -> None:
    """A figure that was renamed would be an alert that never comes."""
    everything(sink)
    wait_until(lambda: "edgebird_disk_free_bytes{" in scrape(port), "a look at the disk")
    names = set(re.findall(r"^(?:# HELP )?(edgebird_\w+)[{ ]", scrape(port), re.MULTILINE))
    asked = set(re.findall(r"\bedgebird_[a-z]\w+", file.read_text(encoding="utf-8")))
    assert len(asked) >= 10
    assert asked <= names


def test_every_rule_is_tried() -> None:
    cases = (ROOT / "tests" / "data" / "prometheus-tests.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"alert: (\w+)", RULES.read_text())) == set(re.findall(r"alertname: (\w+)", cases))


def test_every_panel_of_the_dashboard_asks_the_data_source_that_is_chosen() -> None:
    dashboard = json.loads((STATION / "grafana.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource", "station"]
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all('instance=~"$station"' in target["expr"] for target in panel["targets"])


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[Callable[[str], Any]]:
    """A real Prometheus that scrapes a port and tries our rules: what it answers at an address of its API."""
    require_server("promtool", shutil.which("prometheus") is not None, "prometheus")
    port = free_port()
    scraped = [{"job_name": "edgebird", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}]
    every = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    settings = {"global": every, "scrape_configs": scraped, "rule_files": [str(RULES)]}
    (folder / "prometheus.yml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]

    def ask(address: str) -> Any:
        try:
            with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/api/v1/{address}", timeout=10) as answer:
                return json.load(answer)["data"]
        except URLError:
            return None

    with subprocess.Popen(command) as process, bounded(process, 300):
        yield ask


def test_prometheus_has_an_answer_for_every_panel_of_the_dashboard_and_every_rule(
    sink: MetricsSink, port: int, tmp_path: Path
) -> None:
    """An expression that is wrong, or has no figures, is an empty panel: Grafana says nothing of it."""
    dashboard = json.loads((STATION / "grafana.json").read_text(encoding="utf-8"))
    targets = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]
    with prometheus(tmp_path, port) as ask:

        def query(expression: str) -> list[str]:
            chosen = expression.replace("$station", ".+").replace("$__range", "1h")
            answer = ask(f"query?{urlencode({'query': chosen})}") or {"result": []}
            return [one["value"][1] for one in answer["result"]]

        def scrapes() -> int:
            return int((query('count_over_time(up{job="edgebird"}[1h])') or ["0"])[0])

        for number in (1, 2):
            everything(sink)
            before = scrapes()
            wait_until(lambda n=before: scrapes() >= n + 2, f"scrapes after event {number}")
        answers = {(title, expression): query(expression) for title, expression in targets}
        assert [key for key, values in answers.items() if not set(values) - {"NaN"}] == []
        assert query("edgebird_engine_parity_max_difference") == ["0.000002"]
        (asked,) = [one["query"]["query"] for one in dashboard["templating"]["list"] if one["name"] == "station"]
        name = asked.removeprefix("label_values(").removesuffix(", instance)")
        assert query(f"count by (instance) ({name})") == ["1"]
        rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        assert {rule["name"]: rule["health"] for rule in rules if rule["health"] != "ok"} == {}
        assert len(rules) == RULES.read_text(encoding="utf-8").count("- alert:")
