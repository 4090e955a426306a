"""Pages as people have them, in Chromium, on a desktop and a phone: whole, without a complaint, and for everybody.

`EDGEBIRD_RECORD=1` writes the screenshots of docs/.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require

require("starlette")
require("uvicorn")

from edgebird.demo import BUNDLE, RECORDING  # noqa: E402
from edgebird.stored.records import record  # noqa: E402
from tests.browser import DESKTOP, PHONE, Browser, browsing  # noqa: E402
from tests.live_servers import wait_until  # noqa: E402
from tests.sinking import query  # noqa: E402
from tests.stationsite import EVIL, SMALL, Client, make_station, serving  # noqa: E402

DATA, DOCS = Path(__file__).parent / "data", Path(__file__).parents[1] / "docs"
OUTAGE = SMALL.outage[0].date()
SIZES = {"desktop": DESKTOP, "phone": PHONE}
MOST_BYTES = 500_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_station(tmp_path_factory.mktemp("station"))


@pytest.fixture(scope="module")
def client(station: Path) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgebird.web.security.Buckets.take", lambda self, address: True)  # a browser asks fast here
        with serving(station, bundle=BUNDLE) as found:
            assert found.post("/review/draw", {"many": 12}).status == 303
            yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as found:
        yield found


@pytest.fixture(scope="module")
def pages(station: Path) -> list[str]:
    ((number, code),) = query(station, "SELECT id, code FROM detections WHERE id = (SELECT max(id) FROM detections)")
    return [
        "/", f"/days?date={OUTAGE}", "/species", f"/species/{code}", "/detections", f"/detection/{number}", "/review",
        "/health?days=31", "/api", "/login", "/nothing",
    ]  # fmt: skip


AXE = """
axe.run(document, {resultTypes: ['violations']}).then(found => found.violations
  .filter(one => ['serious', 'critical'].includes(one.impact))
  .map(one => one.id + ': ' + one.nodes.slice(0, 3).map(node => node.html).join(' | ')))
"""


def problems(browser: Browser, origin: str, page: str, width: int) -> Iterator[str]:
    """What is wrong with a page that is open."""
    yield from (said for said in browser.complaints if page != "/nothing" or "404" not in said)
    weight = sum(many for address, many in browser.bytes_of.items() if "/media/clip/" not in address)
    if weight > MOST_BYTES:
        yield f"{weight} bytes: {browser.bytes_of}"
    if (wide := browser.run("document.documentElement.scrollWidth")) > width:
        yield f"{wide} pixels wide"
    yield from (f"asks {address}" for address in browser.bytes_of if not address.startswith((origin, "data:", "blob:")))
    browser.inject(DATA / "axe" / "axe.min.js")
    yield from browser.run(AXE)


@pytest.mark.parametrize(("size", "dark"), [("desktop", False), ("phone", True)], ids=["desktop", "phone, dark"])
def test_every_page_is_whole_and_usable_by_everybody(
    browser: Browser, client: Client, pages: list[str], size: str, dark: bool
) -> None:
    """No error in the console, nothing wider than the screen, 500 kB at most, and axe-core finds nothing serious."""
    browser.size(*SIZES[size], dark=dark)
    origin, found = f"http://127.0.0.1:{client.port}", []
    for page in pages:
        browser.open(f"{origin}{page}")
        found += [f"{page}: {problem}" for problem in problems(browser, origin, page, SIZES[size][0])]
    assert not found, "\n".join(found)


def test_a_name_that_is_markup_runs_nowhere(browser: Browser, client: Client, pages: list[str]) -> None:
    browser.size(*DESKTOP)
    for page in pages:
        browser.open(f"http://127.0.0.1:{client.port}{page}")
        assert browser.run("document.querySelectorAll('img[src=x]').length") == 0
    browser.open(f"http://127.0.0.1:{client.port}{pages[5]}")
    assert browser.run("document.querySelector('h1').textContent") == EVIL


def reviewed(client: Client, number: int) -> Mapping[str, Any]:
    with client.site.reading() as connection:
        return client.site.reviews.of([record(connection, number)])[number]


def test_a_review_needs_no_mouse(browser: Browser, client: Client) -> None:
    """R, U, and W with a species: three of the queue are done, each as it was meant."""
    browser.size(*DESKTOP)
    for keys, verdict, species in (
        ("r", "right", None),
        ("u", "unsure", None),
        (["w", "X", "y", "Enter"], "wrong", "Xy"),
    ):
        browser.open(f"http://127.0.0.1:{client.port}/review")
        number = int(browser.run("document.querySelector('[name=detection]').value"))
        for key in keys:
            browser.press(key)
        browser.settle(1.5)
        review = reviewed(client, number)
        assert (review["verdict"], review["species"]) == (verdict, species)
        assert 0 < review["probability"] <= 1


def test_sound_is_played_and_the_line_goes_with_it(browser: Browser, client: Client, pages: list[str]) -> None:
    browser.size(*DESKTOP)
    browser.open(f"http://127.0.0.1:{client.port}{pages[5]}")
    browser.press(" ")
    browser.settle(2.5)
    at = browser.run("document.querySelector('audio').currentTime")
    assert at > 0.3
    assert abs(float(browser.run("document.querySelector('.head').getAttribute('x1')")) - at) < 1
    assert browser.complaints == []


def test_one_gets_everywhere_with_the_keyboard(browser: Browser, client: Client) -> None:
    """The first stop leads past the menu."""
    browser.size(*DESKTOP)
    browser.open(f"http://127.0.0.1:{client.port}/days?date={OUTAGE}")
    stops = []
    for _ in range(9):
        browser.press("Tab")
        stops.append(browser.run("document.activeElement.textContent.trim()"))
    assert stops[0] == "Skip to the content"
    assert {"Now", "Days", "Species", "Review", "Health"} <= set(stops)


@pytest.mark.skipif(os.environ.get("EDGEBIRD_RECORD") != "1", reason="records the screenshots of docs/")
def test_screenshots(browser: Browser, client: Client, station: Path) -> None:
    code = query(station, "SELECT code FROM detections GROUP BY code ORDER BY count(*) DESC LIMIT 1")[0][0]
    best = query(station, f"SELECT id, max(score) FROM detections WHERE code = '{code}'")[0][0]
    wanted = {"days": (f"/days?date={OUTAGE}", DESKTOP), "detection": (f"/detection/{best}", DESKTOP),
              "review-phone": ("/review", PHONE)}  # fmt: skip
    for name, (page, size) in wanted.items():
        browser.size(*size)
        browser.open(f"http://127.0.0.1:{client.port}{page}")
        browser.settle(1)
        (DOCS / f"serve-{name}.webp").write_bytes(browser.screenshot("webp"))


@pytest.mark.skipif(os.environ.get("EDGEBIRD_RECORD") != "1", reason="records the screenshots of docs/")
def test_screenshot_of_now(browser: Browser, tmp_path: Path) -> None:
    """Of a station that hears the demo's recording twice, with the demo's folds."""
    for name in ("garden", "pond"):
        (tmp_path / f"{name}.flac").symlink_to(RECORDING)
    command = [sys.executable, "-m", "edgebird", "-q", "listen", "--file", "garden.flac", "--file", "pond.flac"]
    command += ["--realtime", "--bundle", str(BUNDLE), "--database", "birds.db", "--clips", "clips", "--duration", "40"]
    with subprocess.Popen([*command, "--stats-every", "5"], cwd=tmp_path, stdout=subprocess.DEVNULL) as station:
        try:
            wait_until(lambda: (tmp_path / "birds.db.live").exists(), "live socket", 60)
            with serving(tmp_path / "birds.db") as client:
                browser.size(*DESKTOP)
                browser.open(f"http://127.0.0.1:{client.port}/")
                browser.settle(16)  # some of the recording is still to come
                (DOCS / "serve-now.webp").write_bytes(browser.screenshot("webp"))
        finally:
            station.terminate()
