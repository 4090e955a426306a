"""Sources as people write them: each becomes one of a kind, with a name of its own."""

from __future__ import annotations

import pytest

from edgebird.settings.sources import make_source, parse_named, with_names


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        ("garden=USB Audio", "garden", "USB Audio"),
        ("garden=", "garden", ""),
        ("USB Audio", "", "USB Audio"),
        ("pond=rtsp://u:p@h/x?a=b", "pond", "rtsp://u:p@h/x?a=b"),
        ("rtsp://u:p@h/x?a=b", "", "rtsp://u:p@h/x?a=b"),
        ("plughw:CARD=Device,DEV=0", "", "plughw:CARD=Device,DEV=0"),
    ],
)
def test_a_name_ends_at_the_first_equals_sign(text: str, name: str, rest: str) -> None:
    assert parse_named(text) == (name, rest)


@pytest.mark.parametrize(
    "address",
    ["rtsp://admin:pa/ss@pond/birds", "rtsp://a:hunt@er2@pond/birds@2", "rtsp://hunt/er2@pond:8554", "rtsp://pond"],
)
def test_no_part_of_a_password_becomes_a_name(address: str) -> None:
    (source,) = with_names([make_source("url", address)])
    assert source.name == "pond"


def test_sources_without_a_name_get_one_of_their_own() -> None:
    sources = [
        make_source("mic", ""),
        make_source("mic", "USB Audio", channel=1),
        make_source("mic", "USB Audio", channel=2),
        make_source("url", "rtsp://me:s3cret@camera.lan:8554/live"),
        make_source("url", "rtsp://camera.lan/second"),
        make_source("file", "camera.lan-2"),
        make_source("mic", "", "mic-2"),
        make_source("mic", ""),
    ]
    assert [source.name for source in with_names(sources)] == [
        *("mic", "USB Audio", "USB Audio-2", "camera.lan", "camera.lan-2", "camera.lan-2-2", "mic-2", "mic-3")
    ]
