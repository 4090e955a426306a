"""A report as a page: whole, readable years later, and nothing in it is loaded or run."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgebird.benchmarks.page import page_of
from edgebird.bundle import Bundle
from tests.benching import measured
from tests.conftest import require
from tests.foreign import tone_bundle
from tests.test_cli import Command, edgebird

__all__ = ["edgebird"]


@pytest.fixture
def tones(tmp_path: Path) -> Bundle:
    require("onnxruntime")
    return tone_bundle(tmp_path / "tones")


class Page(HTMLParser):
    """Complains about elements that are not closed in order, and about whatever would load or run something."""

    VOID = ("meta", "br", "rect", "circle", "line", "polyline")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img", "iframe", "object", "use")
        assert not {name for name, _ in attrs} & {"src", "href", "xlink:href", "onload", "onclick"}
        self.found.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(edgebird: Command, tones: Bundle, tmp_path: Path) -> None:
    """It is mailed around and opened offline, years later."""
    file = tmp_path / "report.html"
    ended = edgebird("bench", tones.path, "--runtime", "ort-cpu", "--seconds", 0, "--batch", 1, "--batch", 2,
                     "--html", file)  # fmt: skip
    assert ended.code == 0
    text = file.read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert page.found.count("svg") == page.found.count("title") - 1 == 2 * 3
    assert not re.search(r"https?:|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text


def test_what_a_machine_calls_itself_cannot_break_the_page(tones: Bundle) -> None:
    report = measured(tones)
    report["machine"]["cpu"] = "<script>alert(1)</script> & Co"
    Page().feed(page_of(report))
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Co" in page_of(report)
