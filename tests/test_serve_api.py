"""The API: BirdNET-Go's public client reads a running station, and nothing that is asked makes the server fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import require

require("starlette")
require("uvicorn")

from edgebird.sinks.database import DatabaseSink  # noqa: E402
from edgebird.web.api.declared import DECLARED, PARAMETERS  # noqa: E402
from edgebird.web.api.handlers import levels_json  # noqa: E402
from tests.sinking import Tape, detection, opened, query  # noqa: E402
from tests.stationsite import SMALL, Client, make_station, serving  # noqa: E402

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_station(tmp_path_factory.mktemp("station"), clips=10)


@pytest.fixture(scope="module")
def client(station: Path) -> Iterator[Client]:
    with serving(station) as found:
        yield found


@pytest.fixture(autouse=True)
def _no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of requests a second: these tests ask fast."""
    monkeypatch.setattr("edgebird.web.security.Buckets.take", lambda self, address: True)


def asked(client: Client, ask: Callable[[Any], Awaitable[Any]], **more: Any) -> Any:
    """What BirdNET-Go's client gets."""
    aiobirdnetgo = require("aiobirdnetgo")

    async def run() -> Any:
        async with aiobirdnetgo.BirdNetGoClient("127.0.0.1", client.port, **more) as public:
            return await ask(public)

    return asyncio.run(run())


def test_birdnet_gos_client_reads_a_station(client: Client, station: Path) -> None:
    async def everything(public: Any) -> dict[str, Any]:
        return {
            "ping": await public.ping(),
            "health": await public.get_health(),
            "kpis": await public.get_kpis(),
            "sources": await public.get_audio_sources(),
            "streams": await public.get_audio_sources(streams_only=True),
            "recent": await public.get_recent_detections(limit=7),
            "detections": await public.get_detections(date="2025-03-05", source="garden", limit=500),
            "daily": await public.get_daily_species_summary(date="2025-03-05"),
            "summary": await public.get_species_summary(),
            "system": await public.get_system_info(),
        }

    got = asked(client, everything)
    assert got["ping"] is True
    assert (got["health"].status, got["health"].database.status) == ("healthy", "connected")
    (many,) = query(station, "SELECT count(DISTINCT code) FROM detections")[0]
    assert got["kpis"].lifetime_species == many == len(got["summary"])
    assert sorted(source.name for source in got["sources"]) == sorted(SMALL.sources)
    assert got["sources"] == got["streams"]
    ids = [one.id for one in got["recent"]]
    assert len(ids) == 7
    assert ids == sorted(ids, reverse=True)
    where = "time >= '2025-03-05' AND time < '2025-03-06' AND source = 'garden'"
    assert len(got["detections"]) == query(station, f"SELECT count(*) FROM detections WHERE {where}")[0][0] > 0
    assert {(one.date, one.source_name) for one in got["detections"]} == {("2025-03-05", "garden")}
    assert sum(one.count for one in got["daily"]) == sum(sum(one.hourly_counts) for one in got["daily"]) > 0
    assert got["system"].num_cpu > 0
    one = got["recent"][0]
    stored = query(station, f"SELECT code, scientific_name, score, time FROM detections WHERE id = {one.id}")[0]
    assert (one.species_code, one.scientific_name, one.confidence, one.timestamp) == stored


def test_birdnet_gos_client_is_refused_what_would_end_listening(client: Client) -> None:
    aiobirdnetgo = require("aiobirdnetgo")
    for call in ("restart_analysis", "reload_model"):
        with pytest.raises(aiobirdnetgo.BirdNetGoAuthenticationError, match="only read"):
            asked(client, lambda public, call=call: getattr(public, call)())  # type: ignore[misc]
    assert client.ask("/api/v2/media/image/Turdus%20merula").status == 404


def test_birdnet_gos_client_lets_itself_in(station: Path, tmp_path: Path) -> None:
    with serving(station, password=PASSWORD, reviews=tmp_path / "reviews") as secured:
        for given in ({"api_key": PASSWORD}, {"username": "me", "password": PASSWORD}):
            assert asked(secured, lambda public: public.get_recent_detections(limit=1), **given)
        assert asked(secured, lambda public: public.ping(), api_key="wrong") is False


def test_birdnet_gos_client_hears_of_a_detection_as_it_comes(tmp_path: Path) -> None:
    """And what came while it was away is fetched from the list."""
    sink = opened(DatabaseSink(tmp_path / "birds.db"))
    tape = Tape()
    sink.take(detection(tape, 1.0), None)

    async def hear(public: Any) -> list[Any]:
        waiting: asyncio.Queue[Any] = asyncio.Queue()
        stream = public.stream_detections()
        task = asyncio.create_task(_gather(stream, waiting))
        for number in range(60):  # the server looks once a second
            await asyncio.sleep(0.5)
            sink.take(detection(tape, 2.0 + number, common_name="Kuckuck"), None)
            if not waiting.empty():
                break
        stream.stop()
        task.cancel()
        return [waiting.get_nowait(), *await public.get_recent_detections(limit=1000)]

    async def _gather(stream: Any, waiting: asyncio.Queue[Any]) -> None:
        async for one in stream:
            waiting.put_nowait(one)

    with serving(tmp_path / "birds.db", clips=None) as client:
        first, *listed = asked(client, hear)
    sink.close()
    assert first.common_name == "Kuckuck"
    assert first.id in {one.id for one in listed}
    assert 1 in {one.id for one in listed}


def test_a_review_is_seen_by_programs(client: Client) -> None:
    one = client.ask("/api/v2/detections/recent?limit=1").json[0]
    assert one["verified"] == "unverified"
    for verdict, said in (("right", "correct"), ("wrong", "false_positive"), ("unsure", "unverified")):
        assert client.post("/review", {"detection": one["id"], "verdict": verdict}).status == 303
        assert client.ask(f"/api/v2/detections/{one['id']}").json["verified"] == said


def test_lists_come_in_pages_that_leave_nothing_out(client: Client) -> None:
    path, ids = "/api/v2/detections?limit=400&date=2025-03-06", []
    while path:
        answer = client.ask(path)
        ids += [one["id"] for one in answer.json]
        path = answer.headers.get("link", "").partition(">")[0].lstrip("<")
    assert len(ids) == len(set(ids)) == int(answer.headers["x-total-count"])


def test_levels_are_a_hundred_at_full_scale_and_zero_in_silence() -> None:
    def source(name: str, level: float | None, peak: float | None, state: str = "open") -> dict[str, Any]:
        return {"name": name, "state": state, "level_dbfs": level, "peak_dbfs": peak}

    said = levels_json({"sources": [source("a", 0.0, 0.0), source("b", -30.0, -12.0), source("c", None, None, "lost")]})
    assert {name: (one["level"], one["clipping"]) for name, one in said["levels"].items()} == {
        "a": (100.0, True), "b": (50.0, False), "c": (0.0, False),
    }  # fmt: skip


def test_the_document_has_every_operation_and_the_page_too(client: Client) -> None:
    document = client.ask("/api/openapi.json").json
    page = client.ask("/api").text
    assert document["openapi"].startswith("3.1")
    for one in DECLARED:
        assert document["paths"][one.path][one.method.lower()]["operationId"] == one.name
        assert f"{one.method} {one.path}" in page
    assert "<script" not in page
    json.dumps(document, allow_nan=False)


ODD = st.one_of(
    st.text(max_size=30),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.dates().map(str),
    st.sampled_from(
        ["", "0", "-1", "1e3", "nan", "²", "../..", "%00", "<script>", "' OR 1=1 --", "2025-02-29", "x" * 5000]
    ),
)
PATHS = sorted(
    {one.path for one in DECLARED if not isinstance(one.gives, str) or "event" not in one.gives}
    | {
        "/",
        "/days",
        "/species",
        "/species/{name}",
        "/detections",
        "/detection/{id}",
        "/health",
        "/health.json",
        "/review",
    }
    | {"/media/clip/{id}", "/media/spectrogram/{id}", "/export/{name}", "/static/{name}", "/login", "/api", "/{name}"}
)


@given(
    st.sampled_from(PATHS),
    st.dictionaries(st.sampled_from([*PARAMETERS, "q", "days", "skip", "clip", "size", "next"]), ODD, max_size=4),
    ODD,
    st.sampled_from(["GET", "GET", "GET", "POST", "PUT", "HEAD"]),
    ODD,
)
@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_is_asked_makes_the_server_fail(
    client: Client, path: str, query: dict[str, str], inside: str, method: str, body: str
) -> None:
    filled = path.replace("{id}", quote(inside, safe="")).replace("{name}", quote(inside, safe=""))
    address = f"{filled}?{urlencode(query)}" if query else filled
    sent = body.encode("utf-8", "replace").decode("latin-1")
    answer = client.ask(address, method, sent if method != "GET" else "")
    assert 200 <= answer.status < 500, (method, address)
    assert "content-security-policy" in answer.headers


@given(
    st.dictionaries(st.sampled_from(["detection", "verdict", "species", "next", "many", "from", "to"]), ODD, max_size=5)
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_form_makes_the_server_fail(client: Client, fields: dict[str, str]) -> None:
    token = client.token("/login")
    for path in ("/review", "/review/draw"):
        answer = client.ask(
            path, "POST", urlencode({**fields, "csrf": token}), Content_Type="application/x-www-form-urlencoded"
        )
        assert 200 <= answer.status < 500, (path, fields)
