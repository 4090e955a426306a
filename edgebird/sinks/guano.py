"""GUANO 1.0: what a recording is, as lines of text inside the file itself (github.com/riggsd/guano-spec).

A WAV file has them in a chunk `guan`; a FLAC file, for which GUANO says nothing, in its Vorbis comment.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path

import soundfile

from edgebird.errors import AudioError
from edgebird.reading.chunks import riff_chunks

_CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]+")
_LARGEST = 1 << 20  # bytes of text: more is damage


def guano_text(fields: Mapping[str, str]) -> str:
    """The lines of these fields, the version first; a line break in a value becomes a space."""
    lines = {"GUANO|Version": "1.0", **fields}
    return "".join(f"{key}: {_CONTROL.sub(' ', value)}\n" for key, value in lines.items())


def parse_guano(text: str) -> dict[str, str]:
    """The fields of GUANO text; lines that are none are left out."""
    pairs = [line.partition(":") for line in text.split("\n")]
    return {key.strip(): value.strip(" \t\r\0") for key, colon, value in pairs if colon}


def with_guano(wav: bytes, text: str) -> bytes:
    """A WAV file with the text as its last chunk, where no reader of the sound stumbles over it."""
    content = text.encode()
    content += b"\n" * (len(content) % 2)  # chunks are word-aligned; GUANO asks for padding inside, of white space
    wav += b"\0" * (len(wav) % 2)
    whole = wav + b"guan" + struct.pack("<I", len(content)) + content
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def read_guano(path: Path) -> dict[str, str]:
    """The fields in a WAV or FLAC file, none if it has none. Raises AudioError if it cannot be read."""
    try:
        with path.open("rb") as file:
            for chunk in riff_chunks(file):
                if chunk.id == b"guan":
                    file.seek(chunk.offset)
                    return parse_guano(file.read(min(chunk.size, _LARGEST)).decode("utf-8", "replace"))
        with soundfile.SoundFile(path) as sound:
            return parse_guano(sound.comment) if sound.comment.startswith("GUANO|") else {}
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror or error}") from None
    except soundfile.LibsndfileError as error:
        raise AudioError(f"cannot read {path}: {error.error_string}") from None
