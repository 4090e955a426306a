"""Tells MP3, AAC and MPEG-TS by their first frames.

FFmpeg wants up to 64 KB to be sure of them, which takes seconds where a stream has little memory; it is told otherwise
only by the type that a server gives, which may be wrong.
"""

from __future__ import annotations

_PACKET = 188  # bytes, of MPEG-TS
_RATES = (44100, 48000, 32000)
# kbit/s by the header's number: of MPEG 1, layers II and III, and of MPEG 2 and 2.5, both layers.
_KBITS_II = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
_KBITS_III = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBITS_LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def demuxer_of(head: bytes) -> str:
    """Return FFmpeg's name for what frames of `head` are: `mp3` (MP2 too), `aac`, `mpegts`; empty if it cannot be seen.

    A stream may begin in the middle of a frame. Two frames that follow one another are not there by chance.
    """
    for start in range(min(_PACKET, max(0, len(head) - 2 * _PACKET))):
        if all(head[start + packet * _PACKET] == 0x47 for packet in range(3)):
            return "mpegts"
    for start in range(len(head) - 7):
        if head[start] == 0xFF and head[start + 1] >= 0xE0:
            kind, size = _frame(head[start : start + 7])
            if kind and _frame(head[start + size : start + size + 7])[0] == kind:
                return kind
    return ""


def _frame(header: bytes) -> tuple[str, int]:
    """What a frame with this header is, and its bytes."""
    if len(header) < 7 or header[0] != 0xFF or header[1] < 0xE0:
        return "", 0
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    if layer == 0:  # no layer of MPEG audio: ADTS
        size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        valid = header[1] >= 0xF0 and header[2] >> 2 & 15 < 13 and size > 7
        return ("aac", size) if valid else ("", 0)
    rate, kbits = header[2] >> 2 & 3, header[2] >> 4
    if layer == 3 or version == 1 or rate == 3 or not 0 < kbits < 15:
        return "", 0
    first, third = version == 3, layer == 1
    hertz = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    table = (_KBITS_III if third else _KBITS_II) if first else _KBITS_LOW
    per_bit = 144 if first or not third else 72
    return "mp3", per_bit * 1000 * table[kbits] // hertz + (header[2] >> 1 & 1)
