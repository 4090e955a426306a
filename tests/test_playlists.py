"""Playlists as they are found: which addresses they lead to, and what HLS says of its segments."""

from __future__ import annotations

import pytest

from edgebird.capture.playlists import Segment, kind_of, places_in, segments_in, variants_in

PLACE = "http://radio.example:8000/birds?a=1&b=2"
PLAYLISTS = {
    "an address": f"{PLACE}\r\n",
    "M3U": f"#EXTM3U\r\n#EXTINF:-1,Birds - live\r\n{PLACE}\r\nhttp://other.example/\r\n",
    "M3U with a byte order mark": f"\ufeff#EXTM3U\n\n{PLACE}\n",
    "PLS": f"[playlist]\nNumberOfEntries=2\nTitle1=Birds=live\nFile1={PLACE}\nLength1=-1\nFile2=http://other.example/\n",
    "PLS in capitals": f"\n[Playlist]\r\nfile1 = {PLACE}\r\nVersion=2\r\n",
    "XSPF": '<?xml version="1.0" encoding="UTF-8"?>\n<playlist version="1" xmlns="http://xspf.org/ns/0/"><title>Birds</title>'
    "<trackList><track>\n<location> http://radio.example:8000/birds?a=1&amp;b=2\n</location></track></trackList></playlist>",
    "ASX": '<ASX version="3.0"><TITLE>Birds</TITLE><ENTRY><REF HREF="http://radio.example:8000/birds?a=1&amp;b=2" />'
    "</ENTRY></ASX>",
    "ASX with other quotes": "<asx version='3.0'>\n<entry>\n<ref\nhref = 'http://radio.example:8000/birds?a=1&amp;b=2'/>"
    "</entry></asx>",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_the_first_address_of_a_playlist_is_found(name: str) -> None:
    content = PLAYLISTS[name]
    assert kind_of(content.encode()) == "playlist"
    assert places_in(content)[0] == PLACE


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n", "hls"),
        (b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">', "dash"),
        (b"\n <!DOCTYPE html><html>", "page"),
        (b'<?xml version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml">', "page"),
        (b"OggS\0\2", ""),
        (b"ID3\4\0http://radio.example/", ""),
        (b"", ""),
    ],
)
def test_what_a_server_sends_is_told_by_its_beginning(head: bytes, kind: str) -> None:
    assert kind_of(head) == kind


def test_the_best_sound_of_a_master_playlist_is_taken_with_the_least_video() -> None:
    sound = '#EXT-X-STREAM-INF:BANDWIDTH={},CODECS="mp4a.40.2"\n{}\n'
    video = '#EXT-X-STREAM-INF:BANDWIDTH={},RESOLUTION=640x360,CODECS="avc1.4d401e,mp4a.40.2"\n{}\n'
    both = "#EXTM3U\n" + video.format(900000, "high") + video.format(400000, "low")
    assert variants_in(both) == ["low", "high"]
    assert variants_in(both + sound.format(64000, "a64") + sound.format(128000, "a128"))[:2] == ["a128", "a64"]
    assert variants_in("#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n1.ts\n") == []


def test_sound_that_stands_apart_from_its_video_is_taken() -> None:
    text = (
        "#EXTM3U\n"
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="en",URI="words.m3u8"\n'
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a, b",DEFAULT=YES,URI="sound.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=900000,CODECS="avc1.4d401e,mp4a.40.2",AUDIO="a"\nvideo.m3u8\n'
    )
    assert variants_in(text) == ["sound.m3u8"]


def test_segments_have_their_numbers_bytes_and_headers() -> None:
    found = segments_in(
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:41\n"
        '#EXT-X-MAP:URI="init.mp4",BYTERANGE="700@0"\n'
        "#EXTINF:4.0,a title\n#EXT-X-BYTERANGE:1000@700\nall.mp4\n"
        "#EXTINF:3.5\n#EXT-X-BYTERANGE:900\nall.mp4\n"
        '#EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=AES-128,URI="key"\n#EXTINF:4,\nlast.mp4\n#EXT-X-ENDLIST\n'
    )
    header = ("init.mp4", (0, 700))
    assert found.target_s == 4
    assert found.ended
    assert found.segments == (
        Segment("all.mp4", 41, 4.0, (700, 1000), header),
        Segment("all.mp4", 42, 3.5, (1700, 900), header),
        Segment("last.mp4", 43, 4.0, None, header, broken=True, encrypted="AES-128"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "#EXTM3U\n#EXT-X-TARGETDURATION:six\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:inf\n",
        "#EXTM3U\n#EXTINF:nan,\n1.ts\n",
        "#EXTM3U\n#EXTINF:-1,\n1.ts\n",
        "#EXTM3U\n#EXTINF:,\n1.ts\n#EXT-X-MEDIA-SEQUENCE:x",
        "#EXTM3U\n#EXT-X-BYTERANGE:@\n1.ts\n",
    ],
)
def test_what_is_no_playlist_of_segments_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        segments_in(text)
    assert variants_in(text.replace("#EXTINF:", "#EXT-X-STREAM-INF:BANDWIDTH=")) in ([], ["1.ts"])
