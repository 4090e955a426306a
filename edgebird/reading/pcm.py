"""Containers whose headers say where the samples are: WAV, RF64, Wave64, AIFF, CAF and AU.

Recorders write wrong sizes: none before a battery was empty, those of the header alone, 32 bits of a larger number. A
chunk of samples ends where its size says only if a chunk, or nothing, follows there.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from edgebird.reading.chunks import AIFF, CAF, RIFF, WAVE64, Chunk, ChunkForm, riff_chunks, walk
from edgebird.reading.sound import RawForm

# Sizes that mean "not known yet": never written, or written to a pipe (FFmpeg; SoX; ALSA's arecord).
_PLACEHOLDERS = (0, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x7FFFFFDB, 0x80000000, 2**63 - 1, 2**64 - 1)
_TAIL_BYTES = 1 << 20  # where chunks behind samples of unknown length are looked for
_PADDING_BYTES = 1 << 16  # zeros that may stand behind everything, to fill a sector
_FRAME = 840  # bytes: whole samples of 1 to 8 channels of any width are this long
_SHORT_BYTES = 8  # what is shorter is neither a chunk nor sound
_KNOWN = (
    b"LIST guan wamd bext id3  ID3  iXML axml aXML cue  smpl fact PEAK JUNK junk FLLR PAD  afsp _PMX inst plst DISP "
    b"cart umid levl acid strc regn elm1 minf list MARK INST COMT NAME AUTH ANNO APPL COMM strg mark info chan peak "
    b"pakt kuki uuid free edct"
)
_IDS = [_KNOWN[at : at + 4] for at in range(0, len(_KNOWN), 5)]
_KNOWN_ID = re.compile(b"|".join(re.escape(name) for name in _IDS))
_WAV_PCM = {1: "PCM_U8", 2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}
_FLOAT = {4: "FLOAT", 8: "DOUBLE"}
_AIFF_PCM = {1: "PCM_S8", 2: "PCM_16", 3: "PCM_24", 4: "PCM_32"}
_AU = {
    1: "ULAW", 2: "PCM_S8", 3: "PCM_16", 4: "PCM_24", 5: "PCM_32", 6: "FLOAT", 7: "DOUBLE", 27: "ALAW",
}  # fmt: skip
_BYTES = {
    "PCM_U8": 1, "PCM_S8": 1, "ULAW": 1, "ALAW": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8,
}  # fmt: skip
MPEG_TAGS = (0x50, 0x55)  # of a WAV file: MPEG layers 1 and 2; layer 3


@dataclass(frozen=True, slots=True)
class PcmLayout:
    """Where the samples of a file are.

    raw: how they are written; None for a codec that is not plain samples. tag: the codec of a WAV file.
    offset: of the first byte. present: bytes of samples that are there. stated: bytes that the header says; None if it
    does not say. size_at: where a 32-bit size of them stands, 0 if nowhere. note: what is odd, in words.
    tail: the chunks behind them. frames: of a codec, as the header tells; 0 if it does not.
    """

    raw: RawForm | None
    tag: int
    offset: int
    stated: int | None
    present: int = 0
    size_at: int = 0
    note: str = ""
    tail: tuple[Chunk, ...] = ()
    frames: int = 0

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels, 0 for a codec."""
        return _BYTES[self.raw.subtype] * self.raw.channels if self.raw else 0

    @property
    def is_honest(self) -> bool:
        """Whether the header says what is there."""
        return self.stated == self.present


def pcm_layout(file: BinaryIO, size: int) -> PcmLayout | None:
    """Find the samples of a file of `size` bytes; None for any other container, and where there are none."""
    file.seek(0)
    head = file.read(40)
    for is_it, find, form in _CONTAINERS:
        if is_it(head):
            layout = find(file, head)
            return _measured(file, size, layout, form) if layout and 0 < layout.offset <= size else None
    return None


def _find_wav(file: BinaryIO, head: bytes) -> PcmLayout | None:
    chunks = list(riff_chunks(file))
    content = _contents(file, chunks, b"fmt ", 40)
    data = next((chunk for chunk in chunks if chunk.id == b"data"), None)
    if data is None or len(content) < 16:
        return None
    tag, channels, rate, align, width = _format(content)
    subtype = {1: _WAV_PCM, 3: _FLOAT, 6: {1: "ALAW"}, 7: {1: "ULAW"}}.get(tag, {}).get(width, "")
    raw = _raw(subtype, "LITTLE", rate, channels)
    file_end = file.seek(0, io.SEEK_END)
    follows = any(chunk.offset > data.offset and chunk.offset + chunk.size <= file_end for chunk in chunks)
    stated = None if data.size in _PLACEHOLDERS and not (data.size == 0 and follows) else data.size
    frames = 0
    if stated and align and len(content) >= 20 and not raw:  # blocks of the codec
        samples = int.from_bytes(content[18:20], "little")
        frames = -(-stated // align) * samples
        fact = int.from_bytes(_contents(file, chunks, b"fact", 4), "little")
        frames = fact if frames - samples < fact <= frames else frames  # not all of the last block
    return PcmLayout(raw, tag, data.offset, stated, size_at=data.offset - 4, frames=frames)


def _format(content: bytes) -> tuple[int, int, int, int, int]:
    """Tag, channels, rate, bytes of a frame, bytes of a sample: of a `fmt ` chunk of 16 bytes or more."""
    tag, channels, rate, _, align, bits = struct.unpack("<HHIIHH", content[:16])
    if tag == 0xFFFE and len(content) >= 26:
        (tag,) = struct.unpack("<H", content[24:26])
    width = align // channels if channels and align % channels == 0 and align else -(-bits // 8)
    return tag, channels, rate, align, width


def _find_wave64(file: BinaryIO, head: bytes) -> PcmLayout | None:
    chunks = list(walk(file, 40, WAVE64))
    content = _contents(file, chunks, b"fmt ", 40)
    data = next((chunk for chunk in chunks if chunk.id == b"data"), None)
    if data is None or len(content) < 16:
        return None
    tag, channels, rate, _align, width = _format(content)
    raw = _raw({1: _WAV_PCM, 3: _FLOAT}.get(tag, {}).get(width, ""), "LITTLE", rate, channels)
    return PcmLayout(raw, tag, data.offset, _known(data.size + 24, data.size))


def _find_aiff(file: BinaryIO, head: bytes) -> PcmLayout | None:
    chunks = list(walk(file, 12, AIFF))
    common = _contents(file, chunks, b"COMM", 22)
    data = next((chunk for chunk in chunks if chunk.id == b"SSND"), None)
    if data is None or len(common) < 18:
        return None
    channels, frames, bits, exponent, mantissa = struct.unpack(">HIHHQ", common[:18])
    rate = round(mantissa * 2.0 ** ((exponent & 0x7FFF) - 16383 - 63)) if exponent & 0x7FFF < 16415 else 0
    kind = common[18:22] if head[8:12] == b"AIFC" else b"NONE"
    plain = _AIFF_PCM.get(-(-bits // 8), "")
    subtype = {b"NONE": plain, b"twos": plain, b"sowt": plain, b"fl32": "FLOAT", b"FL32": "FLOAT", b"fl64": "DOUBLE",
               b"FL64": "DOUBLE", b"ulaw": "ULAW", b"alaw": "ALAW"}.get(kind, "")  # fmt: skip
    raw = _raw(subtype, "LITTLE" if kind == b"sowt" else "BIG", rate, channels)
    file.seek(data.offset)
    skipped = int.from_bytes(file.read(4), "big")
    offset = data.offset + 8 + skipped
    layout = PcmLayout(raw, 0, offset, _known(data.size, data.size - 8 - skipped))
    if layout.stated is None and raw and frames not in _PLACEHOLDERS:
        layout = replace(layout, stated=frames * layout.frame_bytes)
    return layout


def _find_caf(file: BinaryIO, head: bytes) -> PcmLayout | None:
    chunks = list(walk(file, 8, CAF))
    about = _contents(file, chunks, b"desc", 32)
    data = next((chunk for chunk in chunks if chunk.id == b"data"), None)
    if data is None or len(about) < 32:
        return None
    rate, kind, flags, _, _, channels, bits = struct.unpack(">d4s5I", about)
    subtype = ""
    if kind == b"lpcm":
        subtype = (_FLOAT if flags & 1 else _AIFF_PCM).get(-(-bits // 8), "")
    elif kind in (b"ulaw", b"alaw"):
        subtype = kind.decode().upper()
    whole_rate = round(rate) if 0 < rate < 2**31 else 0
    raw = _raw(subtype, "LITTLE" if flags & 2 else "BIG", whole_rate, channels)
    return PcmLayout(raw, 0, data.offset + 4, _known(data.size, data.size - 4))


def _find_au(file: BinaryIO, head: bytes) -> PcmLayout | None:
    endian, order = ("BIG", ">") if head[:4] == b".snd" else ("LITTLE", "<")
    offset, size, encoding, rate, channels = struct.unpack(f"{order}5I", head[4:24])
    return PcmLayout(_raw(_AU.get(encoding, ""), endian, rate, channels), 0, offset, _known(size, size))


_CONTAINERS: tuple[tuple[Callable[[bytes], bool], Callable[[BinaryIO, bytes], PcmLayout | None], ChunkForm | None], ...]
_CONTAINERS = (
    (lambda head: head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE", _find_wav, RIFF),
    (lambda head: head[:4] == b"riff" and head[24:28] == b"wave", _find_wave64, WAVE64),
    (lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"), _find_aiff, AIFF),
    (lambda head: head[:4] == b"caff", _find_caf, CAF),
    (lambda head: head[:4] in (b".snd", b"dns.") and len(head) >= 24, _find_au, None),
)


def _contents(file: BinaryIO, chunks: list[Chunk], name: bytes, most: int) -> bytes:
    for chunk in chunks:
        if chunk.id == name:
            file.seek(chunk.offset)
            return file.read(min(chunk.size, most))
    return b""


def _raw(subtype: str, endian: str, rate: int, channels: int) -> RawForm | None:
    plausible = subtype and 1 <= rate <= 10_000_000 and 1 <= channels <= 1024
    return RawForm(subtype, endian, rate, channels) if plausible else None


def _known(field: int, size: int) -> int | None:
    """The size of the samples, None if the field that it was reckoned from says that nobody knows."""
    return None if field in _PLACEHOLDERS or field < 0 or size < 0 else size


# --------------------------------------------------------------------------------------------- where the samples end
def _measured(file: BinaryIO, size: int, layout: PcmLayout, form: ChunkForm | None) -> PcmLayout:
    """A layout with the samples that are there."""
    room, stated = size - layout.offset, layout.stated
    if stated is not None and stated == size and layout.offset > 0:
        note = f"its header counts itself as sound: {layout.offset} bytes too much"
        return replace(layout, stated=room, present=room, note=note)
    if stated is not None and stated >= room:
        return replace(layout, present=room)
    if stated is not None:
        end = layout.offset + stated
        if (tail := _chunks_behind(file, size, end, form)) is not None:
            return replace(layout, present=stated, tail=tail)
        if _is_padding(file, size, end):
            note = f"{size - end} bytes behind its sound are zeros and are left out"
            return replace(layout, present=stated, note=note)
    end, tail = _end_of_samples(file, size, layout.offset + (stated or 0), form)
    written = _end_of_written(file, layout.offset, end)
    present = end - layout.offset
    if end - written > _PADDING_BYTES and written > layout.offset:
        present = (written - layout.offset + _FRAME - 1) // _FRAME * _FRAME
    note = "" if stated is None else _note(layout, stated, present)
    if present < end - layout.offset:
        zeros = f"{end - layout.offset - present} bytes of zeros at its end were never written, and are left out"
        note = f"{note}; {zeros}" if note else zeros
    return replace(layout, present=present, note=note, tail=tail)


def _end_of_written(file: BinaryIO, begin: int, end: int) -> int:
    """Where the zeros begin that a file ends in: recorders that make it in advance leave them."""
    while end > begin:
        start = max(begin, end - _TAIL_BYTES)
        file.seek(start)
        written = len(file.read(end - start).rstrip(b"\0"))
        if written:
            return start + written
        end = start
    return begin


def _note(layout: PcmLayout, stated: int, present: int) -> str:
    wrapped = present >= 2**32 and stated == present % 2**32
    why = "a size of more than 4 GiB in 32 bits" if wrapped else "too little"
    if layout.raw is None:
        return f"its header tells of {stated} bytes of sound ({why}), and {present} are there: all are read"
    unit = layout.frame_bytes * layout.raw.rate
    more = (present - stated) / unit
    return f"its header tells of {stated / unit:.4g} s of sound ({why}); the {more:.1f} s behind them are read too"


def _chunks_behind(file: BinaryIO, size: int, end: int, form: ChunkForm | None) -> tuple[Chunk, ...] | None:
    """The chunks from `end` to the end of the file, () if nothing is there; None if something else is."""
    if size - end < _SHORT_BYTES:
        return ()
    if form is None:
        return None
    aligned = end + -end % form.align
    for begin in dict.fromkeys((aligned, end)):  # some forget the byte that fills up
        chunks = tuple(walk(file, begin, form))
        if chunks and (chunks[0].id in _IDS or _reach(chunks, form, size)):
            return chunks
    return None


def _reach(chunks: tuple[Chunk, ...], form: ChunkForm, size: int) -> bool:
    """Whether the chunks go on to the very end of the file."""
    end = chunks[-1].offset + chunks[-1].size
    return end <= size <= end + -end % form.align


def _is_padding(file: BinaryIO, size: int, end: int) -> bool:
    if size - end > _PADDING_BYTES:
        return False
    file.seek(end)
    return not any(file.read(size - end))


def _end_of_samples(file: BinaryIO, size: int, begin: int, form: ChunkForm | None) -> tuple[int, tuple[Chunk, ...]]:
    """Where samples of unknown length end, and the chunks behind them: those that go on to the end of the file."""
    if form is not None:
        for at in _places(file, max(begin, size - _TAIL_BYTES), size):
            chunks = tuple(walk(file, at, form))
            if chunks and chunks[0].offset == at + form.header_bytes and _reach(chunks, form, size):
                return at, chunks
    return size, ()


def _places(file: BinaryIO, begin: int, size: int) -> Iterator[int]:
    file.seek(begin)
    tail = file.read(size - begin)
    yield from (begin + match.start() for match in _KNOWN_ID.finditer(tail))
