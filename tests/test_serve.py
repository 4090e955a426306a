"""The station's pages: what they show is what is stored, and nobody gets in who may not."""

from __future__ import annotations

import ipaddress
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile
import typer.testing

from tests.conftest import require

require("starlette")
require("uvicorn")

from starlette.datastructures import Headers  # noqa: E402

from edgebird.card import Adoption  # noqa: E402
from edgebird.cli.app import make_app  # noqa: E402
from edgebird.demo import BUNDLE  # noqa: E402
from edgebird.errors import UsageError  # noqa: E402
from edgebird.sinks.database import DatabaseSink  # noqa: E402
from edgebird.stored.drawn import day_view  # noqa: E402
from edgebird.stored.health import last_state  # noqa: E402
from edgebird.stored.names import LocalNames  # noqa: E402
from edgebird.stored.records import Filter, records  # noqa: E402
from edgebird.web.media import clip_path, clips_there, read_clip  # noqa: E402
from edgebird.web.options import ServeOptions, read_address, read_password, read_proxy  # noqa: E402
from edgebird.web.proxy import asked  # noqa: E402
from edgebird.web.security import Buckets, Doorkeeper, password_of  # noqa: E402
from tests.sinking import opened, query  # noqa: E402
from tests.stationsite import EVIL, SMALL, Client, make_station, serving  # noqa: E402
from tests.year import Year, write_year  # noqa: E402

PASSWORD = "correct horse"
PAGES = ("/", "/days", "/species", "/detections", "/review", "/health", "/api")


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_station(tmp_path_factory.mktemp("station"))


@pytest.fixture(scope="module")
def client(station: Path) -> Iterator[Client]:
    with serving(station) as found:
        yield found


@pytest.fixture
def secured(station: Path, tmp_path: Path) -> Iterator[Client]:
    with serving(station, password=PASSWORD, reviews=tmp_path / "reviews") as found:
        yield found


def newest(station: Path) -> int:
    return int(query(station, "SELECT max(id) FROM detections")[0][0])


# -------------------------------------------------------------------------------------------------------------- pages
@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_there_and_forbids_what_is_not_ours(client: Client, page: str) -> None:
    answer = client.ask(page)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]* src=)| style=| on\w+=[\"']|https?://(?!www\.w3)", answer.text)
    assert len(answer.body) < 100_000


def test_names_from_outside_are_text_on_every_page(client: Client, station: Path) -> None:
    one = newest(station)
    code = query(station, f"SELECT code FROM detections WHERE id = {one}")[0][0]
    for page in ("/", "/days", f"/species/{code}", f"/detection/{one}", "/detections", "/review"):
        assert EVIL not in client.ask(page).text
    assert "&lt;img src=x onerror=alert(1)&gt;" in client.ask(f"/detection/{one}").text


def test_a_deaf_hour_and_an_empty_one_are_different(client: Client) -> None:
    outage = SMALL.outage[0].date()
    deaf = client.ask(f"/days?date={outage}").text
    assert "nobody heard: not running" in deaf
    assert "<b>17.0 h</b> in which nobody heard" in deaf
    assert "nobody heard: not running" not in client.ask("/days?date=2025-03-05").text


def test_a_station_that_says_nothing_any_more_does_not_look_as_if_it_heard(client: Client) -> None:
    """Its sources were open when it was last heard of."""
    page = client.ask("/").text
    assert "The station last wrote something" in page
    assert page.count("was closed") == 3
    assert "state open" not in page


def test_a_detection_has_its_sound_its_box_and_what_was_rejected(client: Client, station: Path) -> None:
    one = newest(station)
    page = client.ask(f"/detection/{one}").text
    assert '<rect class="box" x="3.0"' in page
    assert "below min windows" in page
    clip = client.ask(f"/media/clip/{one}")
    assert (clip.status, clip.headers["content-type"]) == (200, "audio/flac")
    part = client.ask(f"/media/clip/{one}", Range="bytes=0-3")
    assert (part.status, part.body) == (206, b"fLaC")
    for size, most in (("", 260_000), ("?size=small", 45_000)):
        picture = client.ask(f"/media/spectrogram/{one}{size}")
        assert (picture.status, picture.body[:4]) == (200, b"\x89PNG")
        assert len(picture.body) < most


def test_a_station_that_has_heard_nothing_has_its_pages(tmp_path: Path) -> None:
    opened(DatabaseSink(tmp_path / "birds.db")).close()
    with serving(tmp_path / "birds.db", clips=None) as empty:
        for page in PAGES:
            assert empty.ask(page).status == 200, page
        assert empty.post("/review/draw", {"many": 5}).status == 409


def test_a_database_that_is_not_there_yet_is_said_on_the_page(tmp_path: Path) -> None:
    with serving(tmp_path / "birds.db") as early:
        answer = early.ask("/")
        assert (answer.status, "there is no such file" in answer.text) == (503, True)
        opened(DatabaseSink(tmp_path / "birds.db")).close()
        assert early.ask("/").status == 200


class Emptied(dict[Any, Any]):
    """Another request empties it whenever something was put into it."""

    def __setitem__(self, key: Any, value: Any) -> None:
        self.clear()


def test_a_page_needs_nothing_that_another_request_may_throw_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.site, "kept", Emptied())
    assert client.ask("/species").status == 200


CANNOT_BE = [
    "/days?date=2025-13-01", "/days?date=0001-01-01", "/detections?min_confidence=nan", "/detections?before=x",
    "/species?from=2025-01-01&to=1999-01-01", "/health?days=0", "/health?days=%C2%B2", "/review?skip=-1",
    "/detections?source=" + "x" * 300,
]  # fmt: skip
IS_NOT_THERE = [
    "/detection/0", "/detection/99999999999999999999", "/detection/x", "/species/nobird", "/export/x",
    "/static/../app.py", "/static/%2e%2e/app.py", "/nothing",
]  # fmt: skip


@pytest.mark.parametrize("path", CANNOT_BE)
def test_what_cannot_be_is_400_and_says_why(client: Client, path: str) -> None:
    answer = client.ask(path)
    assert answer.status == 400
    assert "wanted" in answer.text or "too long" in answer.text


@pytest.mark.parametrize("path", IS_NOT_THERE)
def test_what_is_not_there_is_404(client: Client, path: str) -> None:
    assert client.ask(path).status == 404


def test_a_queue_is_drawn_reviewed_and_exported(station: Path, tmp_path: Path) -> None:
    """Each review has its probability, whatever way the browser goes."""
    with serving(station, reviews=tmp_path / "reviews") as client:
        assert "Nothing waits" in client.ask("/review").text
        assert client.post("/review/draw", {"many": 6, "species": "", "source": "", "from": "", "to": ""}).status == 303
        verdicts = ["right", "wrong", "unsure", "right", "wrong", "right"]
        for verdict in verdicts:
            page = client.ask("/review").text
            one = page.partition('name="detection" value="')[2].partition('"')[0]
            form = {"detection": one, "verdict": verdict, "species": "Other Bird", "next": "/review"}
            assert client.post("/review", form).headers["location"] == "/review"
        assert "Nothing waits" in client.ask("/review").text
        assert client.ask("/export/raven.txt").text.count("\n") == 1 + 5
        lines = client.ask("/export/ebird.csv").text.splitlines()
        assert any(line.startswith("Other Bird,,,X,") for line in lines)
    rows = query(tmp_path / "reviews", "SELECT verdict, species, probability FROM reviews ORDER BY id")
    assert [row[0] for row in rows] == verdicts
    assert {row[1] for row in rows if row[0] == "wrong"} == {"Other Bird"}
    assert {row[1] for row in rows if row[0] != "wrong"} == {None}
    assert all(0 < row[2] <= 1 for row in rows)
    frame, unheard = query(tmp_path / "reviews", "SELECT frame, unheard FROM draws")[0]
    assert frame + unheard == query(station, "SELECT count(*) FROM detections")[0][0]


# ---------------------------------------------------------------------------------------------------------- the folder
def test_no_path_leads_out_of_the_clips_folder(tmp_path: Path) -> None:
    """A database may come from elsewhere, and a link may be in the folder."""
    clips, secret = tmp_path / "clips", tmp_path / "secret.wav"
    (clips / "garden").mkdir(parents=True)
    soundfile.write(secret, [0.0] * 100, 8000)
    soundfile.write(clips / "garden" / "a.wav", [0.0] * 100, 8000)
    (clips / "garden" / "link.wav").symlink_to(secret)
    (clips / "out").symlink_to(tmp_path)
    (clips / "garden" / "loop.wav").symlink_to(clips / "garden" / "loop.wav")
    (clips / "garden" / "notes.txt").write_text("x")
    (clips / "garden" / "notes.wav").symlink_to(clips / "garden" / "notes.txt")
    (clips / "garden" / ".flac").write_text("x")
    assert clip_path(clips, "/var/lib/clips/garden/a.wav") == clips / "garden" / "a.wav"
    for stored in (
        "../secret.wav", "garden/../../secret.wav", str(secret), "garden/link.wav", "out/secret.wav", "garden/loop.wav",
        "garden/notes.txt", "garden/notes.wav", "garden/.flac",
        "garden", "", "a.wav", "garden/\0.wav", "garden/" + "x" * 5000 + ".wav", None,
    ):  # fmt: skip
        assert clip_path(clips, stored) is None, stored
    assert clip_path(None, "garden/a.wav") is None
    assert {("garden", "a.wav"), ("garden", "link.wav")} <= clips_there(clips)
    assert clips_there(None) == clips_there(tmp_path / "none") == set()


def test_a_clip_that_says_nothing_of_itself_has_a_box_all_the_same(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", [0.0] * 80_000, 8000)
    clip = read_clip(tmp_path / "a.wav")
    assert (clip.start_s, clip.end_s, clip.length_s, clip.highest_hz) == (3.0, 7.0, 10.0, 4000)


# ----------------------------------------------------------------------------------------------------------- who may in
def test_without_the_password_there_is_nothing(secured: Client) -> None:
    for page in (*PAGES, "/live", "/media/clip/1", "/health.json"):
        answer = secured.ask(page)
        assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, "/login")
    answer = secured.ask("/api/v2/ping")
    assert (answer.status, answer.headers["www-authenticate"].partition(" ")[0]) == (401, "Basic")
    assert secured.ask("/static/site.css").status == 200


@pytest.mark.parametrize("host", ["x/static/?", "x/login?", "x/static/#", "[", "[::1"])
def test_no_word_in_the_header_host_leads_past_the_password(secured: Client, host: str) -> None:
    """Starlette before 1.0 makes the address of a request from it: a path there would open every page."""
    for page in ("/", "/health.json", "/media/clip/1"):
        assert secured.ask(page, Host=host).status == 303
    assert secured.ask("/api/v2/ping", Host=host).status == 401


def test_the_password_lets_in_until_one_leaves(secured: Client) -> None:
    assert secured.post("/login", {"password": "wrong", "next": "/days"}, "/login").status == 403
    before = secured.cookie
    answer = secured.post("/login", {"password": PASSWORD, "next": "/days?date=2025-03-05"}, "/login")
    assert (answer.status, answer.headers["location"]) == (303, "/days?date=2025-03-05")
    assert secured.cookie != before, "a session from before the password could be somebody else's"
    assert {"HttpOnly", "SameSite=Lax"} <= set(answer.headers["set-cookie"].split("; "))
    assert secured.ask("/days").status == 200
    known = secured.cookie
    assert secured.post("/logout", {}).status == 303
    secured.cookie = known
    assert secured.ask("/days").status == 303


@pytest.mark.parametrize("other", ['theme={"dark": true}', "a b=1", "x=[1,2]", "=", "\xe9=1"])
def test_cookies_of_other_servers_do_not_log_out(secured: Client, other: str) -> None:
    """A browser sends those of all ports of a computer, and some hold what the standard library takes for the end."""
    assert secured.post("/login", {"password": PASSWORD}, "/login").status == 303
    for sent in (f"{other}; {secured.cookie}", f"{secured.cookie}; {other}"):
        assert secured.ask("/days", Cookie=sent).status == 200


ELSEWHERE = [
    "//evil.example/", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/x\nSet-Cookie: a=b",
]  # fmt: skip


@pytest.mark.parametrize("target", ELSEWHERE)
def test_the_way_in_leads_nowhere_else(secured: Client, target: str) -> None:
    answer = secured.post("/login", {"password": PASSWORD, "next": target}, "/login")
    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_passwords_cannot_be_tried_without_end(secured: Client) -> None:
    codes = [secured.ask("/api/v2/ping", Authorization="Bearer wrong").status for _ in range(12)]
    assert codes[0] == 401
    assert codes[-1] == 429
    assert secured.post("/login", {"password": PASSWORD}, "/login").status == 429


def test_programs_give_the_password_with_each_request(secured: Client) -> None:
    import base64

    basic = base64.b64encode(f"anyone:{PASSWORD}".encode()).decode()
    for given in (f"Bearer {PASSWORD}", f"Basic {basic}"):
        assert secured.ask("/api/v2/ping", Authorization=given).json == {"status": "ok"}
    for given in ("Basic ???", "Basic", "Bearer", "Digest x", "Basic " + base64.b64encode(b"\xff").decode()):
        assert secured.ask("/api/v2/ping", Authorization=given).status in (401, 429)
    assert password_of("Basic !") == ""


def test_a_form_of_another_page_changes_nothing(client: Client, station: Path) -> None:
    """Any page in the same browser can send a form to 127.0.0.1."""
    one, kind = newest(station), "application/x-www-form-urlencoded"
    client.ask("/review")
    body = f"detection={one}&verdict=right"
    for sent in (body, f"{body}&csrf=", f"{body}&csrf={'0' * 64}", f"{body}&csrf=%FF"):
        assert client.ask("/review", "POST", sent, Content_Type=kind).status in (400, 403)
    own = f"{body}&csrf={client.token()}"
    assert client.ask("/review", "POST", own, Content_Type=kind, Sec_Fetch_Site="cross-site").status == 403
    token, client.cookie = client.token(), ""
    assert client.ask("/review", "POST", f"{body}&csrf={token}", Content_Type=kind).status == 403
    assert not client.site.reviews.path.exists()


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[::2]"])
def test_a_name_that_another_site_gave_this_address_is_refused(client: Client, host: str) -> None:
    """Without a password a page elsewhere could else read all of it through its visitor's browser."""
    assert client.ask("/", Host=host).status == 403


def test_the_proxys_word_is_needed_where_a_proxy_lets_people_in(station: Path, tmp_path: Path) -> None:
    with serving(station, user_header="Remote-User", reviews=tmp_path / "reviews") as client:
        assert client.ask("/").status == 401
        assert client.ask("/", Remote_User="ann").status == 200
        one = newest(station)
        token = client.ask("/review", Remote_User="ann").text.partition('name="csrf" value="')[2].partition('"')[0]
        body = f"detection={one}&verdict=right&csrf={token}"
        kind = "application/x-www-form-urlencoded"
        assert client.ask("/review", "POST", body, Content_Type=kind, Remote_User="ann").status == 303
    assert query(tmp_path / "reviews", "SELECT reviewer FROM reviews") == [("ann",)]


def test_a_station_that_is_off_shows_no_level_of_now(client: Client) -> None:
    """A green bar beside `was closed` looked like sound."""
    shown = client.ask("/").text
    assert "was closed" in shown
    assert re.search(r"-\d+ dBFS", shown) is None


def test_the_licence_of_what_listens_is_shown_or_that_nobody_says(station: Path) -> None:
    """Some weights are for non-commercial use alone: who shows detections of them has to know."""
    with serving(station, bundle=BUNDLE) as client:
        assert "Licence of the weights: the bundle does not say." in client.ask("/health").text
        origin = Adoption("birdnet-v2.4", "model.tflite", "0" * 64, "CC-BY-NC-SA-4.0", EVIL)
        client.site.card = replace(client.site.card, provenance=origin)
        shown = client.ask("/health").text
    assert "Licence of the weights: CC-BY-NC-SA-4.0; they are model.tflite, from &lt;img" in shown
    assert re.search(r"these pages</dt><dd>[\d.e+]+ % of a core since their start, \d+ MB", shown)


PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1"))


@pytest.mark.parametrize(
    ("peer", "headers", "asked_by"),
    [
        ("10.1.1.1", {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.9"}, ("203.0.113.9", True)),
        ("::ffff:10.1.1.1", {"x-forwarded-proto": "HTTPS"}, ("::ffff:10.1.1.1", True)),
        ("10.1.1.1", {"x-forwarded-for": "evil, 198.51.100.7, 10.2.2.2"}, ("198.51.100.7", False)),
        ("10.1.1.1", {"x-forwarded-for": "6.6.6.6, unknown"}, ("10.1.1.1", False)),
        ("203.0.113.9", {"x-forwarded-proto": "https", "x-forwarded-for": "127.0.0.1"}, ("203.0.113.9", False)),
        ("", {"x-forwarded-proto": "https"}, ("", False)),
    ],
)
def test_the_word_of_a_named_proxy_counts_and_nobody_elses(
    station: Path, peer: str, headers: dict[str, str], asked_by: tuple[str, bool]
) -> None:
    options = ServeOptions(station, Path("r"), Path("l"), password=PASSWORD, proxies=PROXIES)
    found = asked(options, peer, Headers(headers).getlist)
    assert (found.address, found.is_secure) == asked_by


def test_what_a_proxy_adds_counts_and_not_the_line_that_was_sent_to_it(station: Path) -> None:
    """HAProxy leaves what it was sent, and puts a line of its own behind it."""
    options = ServeOptions(station, Path("r"), Path("l"), user_header="Remote-User", proxies=PROXIES)
    sent = {"x-forwarded-for": b"6.6.6.6", "x-forwarded-proto": b"https", "remote-user": b"ann"}
    added = {"x-forwarded-for": b"203.0.113.9", "x-forwarded-proto": b"http", "remote-user": b"bob"}
    lines = [(name.encode(), value) for headers in (sent, added) for name, value in headers.items()]
    found = asked(options, "10.1.1.1", Headers(raw=lines).getlist)
    assert (found.address, found.is_secure, found.user) == ("203.0.113.9", False, "")
    assert asked(options, "10.1.1.1", Headers(raw=lines[3:]).getlist).user == "bob"


def test_behind_a_proxy_with_tls_the_session_is_sent_over_tls_alone(station: Path) -> None:
    """Else one request over plain HTTP, to the same name, gives the session to the whole network."""
    trusted = (ipaddress.ip_network("127.0.0.1"),)
    for proxies, is_secure in ((trusted, True), ((), False), (PROXIES, False)):
        with serving(station, password=PASSWORD, proxies=proxies) as client:
            cookie = client.ask("/login", X_Forwarded_Proto="https").headers["set-cookie"]
            assert cookie.endswith("; Secure") is is_secure
            client.cookie = ""
            assert "Secure" not in client.ask("/login", X_Forwarded_Proto="http").headers["set-cookie"]


def test_who_is_behind_a_proxy_has_limits_of_his_own(station: Path) -> None:
    """Else one who tries passwords locks all others out."""
    with serving(station, password=PASSWORD, proxies=(ipaddress.ip_network("127.0.0.1"),)) as client:
        codes = [
            client.ask("/api/v2/ping", Authorization="Bearer wrong", X_Forwarded_For=address).status
            for address in (*["203.0.113.9"] * 12, "198.51.100.7")
        ]
        assert codes[-2:] == [429, 401]


def test_a_name_from_elsewhere_than_the_named_proxy_lets_nobody_in(station: Path) -> None:
    with serving(station, user_header="Remote-User", proxies=PROXIES) as client:
        assert client.ask("/", Remote_User="ann").status == 401


def test_a_flood_and_a_large_form_are_refused(station: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgebird.web.security._RATE", 0.0)
    monkeypatch.setattr("edgebird.web.security._BURST", 20.0)
    with serving(station) as client:
        assert client.ask("/review", "POST", "x" * 70_000).status == 413
        codes = [client.ask("/api/v2/ping").status for _ in range(30)]
        assert (codes[0], codes[-1]) == (200, 429)


def test_limits_count_addresses_apart_and_forgive() -> None:
    now = [0.0]
    buckets = Buckets(0.5, 2, lambda: now[0])
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    assert buckets.take("b")
    now[0] = 2.0
    assert [buckets.take("a") for _ in range(2)] == [True, False]


def test_a_session_ends(tmp_path: Path) -> None:
    now = [0.0]
    door = Doorkeeper(
        ServeOptions(tmp_path / "birds.db", tmp_path / "reviews", tmp_path / "live", password=PASSWORD), lambda: now[0]
    )
    session = door.let_in()
    assert door.knows(session)
    now[0] = 31 * 86_400
    assert not door.knows(session)


# --------------------------------------------------------------------------------------------------------- the command
ADDRESSES = [
    ("127.0.0.1:8080", ("127.0.0.1", 8080)), (":80", ("127.0.0.1", 80)), ("[::1]:8080", ("::1", 8080)),
    ("0.0.0.0:1", ("0.0.0.0", 1)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "address"), ADDRESSES)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    "text", ["8080", "host", "host:", "host:x", "host:70000", "::1:80", "http://x:80", "x:-1", "x:²"]
)
def test_what_is_no_address_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="no such address"):
        read_address(text)


@pytest.mark.parametrize("text", ["proxy", "10.0.0.0/33", "127.0.0.1:80", ""])
def test_what_is_no_proxy_is_wrong_usage(text: str) -> None:
    assert read_proxy("[::1]") == ipaddress.ip_network("::1")
    with pytest.raises(UsageError, match=f"no such proxy {text!r}: wanted an address"):
        read_proxy(text)


def test_a_password_file_that_all_can_read_is_none(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\nnotes\n")
    path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod o-rwx"):
        read_password(path)
    path.chmod(0o600)
    assert read_password(path) == PASSWORD
    path.write_text("short\n")
    with pytest.raises(UsageError, match="8 to"):
        read_password(path)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--listen", "0.0.0.0:8080"], 2, "others could read"),
        (["--listen", "nowhere"], 2, "no such address"),
        (["--password-file", "/nonexistent"], 2, "cannot read password file"),
        (["--names", "/nonexistent"], 1, "cannot read names"),
        (["--reviews", "sub/../x.db"], 2, "is only read"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    invoke = typer.testing.CliRunner().invoke(make_app(), ["serve", "--database", str(tmp_path / "x.db"), *options])
    assert (invoke.exit_code, said in invoke.stderr) == (code, True), invoke.output


def test_the_command_serves_until_it_is_told_to_end_and_says_where(station: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "edgebird", "serve", "--database", str(station), "--listen"]
        refused = subprocess.run([*command, f"127.0.0.1:{port}"], capture_output=True, text=True, check=False)
        assert (refused.returncode, "Address already in use" in refused.stderr) == (1, True)
    process = subprocess.Popen([*command, "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        (port_text,) = re.findall(r"http://127\.0\.0\.1:(\d+)/", said)
        assert Client(int(port_text), None).ask("/").status == 200
        assert os.getpriority(os.PRIO_PROCESS, process.pid) >= 10, "it goes before listening"
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_the_first_page_of_a_year_is_there_at_once(tmp_path: Path) -> None:
    """200,000 detections of three sources. What takes long is seen by its steps: time here is that of a busy CI."""
    database = write_year(tmp_path / "birds.db", Year())
    with serving(database, clips=None) as client:
        for page in ("/", "/days?date=2025-05-05", "/species/bawhor2"):
            client.ask(page)
            times = []
            for _ in range(20):
                began = time.perf_counter()
                assert client.ask(page).status == 200
                times.append(time.perf_counter() - began)
            print(f"{page}: {1000 * statistics.median(times):.0f} ms, median of 20")
        with client.site.reading() as connection:
            connection.set_progress_handler(lambda: 1, 2_000_000)  # steps of SQLite: all of a table would be more
            assert last_state(connection).told
            assert len(records(connection, Filter(), 25)) == 25
            assert day_view(connection, Year().first, LocalNames()).species
