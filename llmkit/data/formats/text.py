"""From bytes to text: byte-order marks, encodings, and which encoding is likely where the named one is wrong."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import IO, Protocol, cast

import pyarrow as pa

from llmkit.errors import DataError

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
MARKS = {  # the longer first: the mark of utf-16 begins that of utf-32
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}
LATIN_1 = {"latin-1", "latin1", "iso-8859-1", "iso8859-1", "l1", "8859"}
SAMPLE = 1 << 20  # bytes that are looked at
WINDOWS_SIGNS = re.compile(rb"[\x80-\x9f]")  # quotes and dashes of Windows-1252; control characters in latin-1
UNUSED_IN_WINDOWS = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
HIGH_RUNS = re.compile(rb"[\x80-\xff]+")
KANA_OF_SHIFT_JIS = re.compile(rb"\x82[\x9f-\xf1]|\x83[\x40-\x96]")


class DataFile(Protocol):
    """A file that can be read: a `Path`, or what has the same names; its text is what sentences call it."""

    @property
    def name(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    @property
    def suffixes(self) -> list[str]: ...


def stream_of(file: DataFile) -> pa.NativeFile:
    """Return what a file holds, without its compression, to be read as it is needed.

    Raises:
        OSError, pa.ArrowInvalid: it cannot be opened.
    """
    compression = COMPRESSIONS.get(file.suffix.lower())
    if isinstance(file, Path):
        return pa.input_stream(str(file), compression=compression)
    return pa.input_stream(cast("Remote", file).open(), compression=compression)


class Remote(DataFile, Protocol):
    """A file that is elsewhere."""

    def open(self) -> IO[bytes]: ...


def bytes_of(path: DataFile) -> bytes:
    """Return what a file holds, without its compression.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with stream_of(path) as stream:
            return bytes(stream.read())
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def is_utf8(encoding: str) -> bool:
    """Tell whether an encoding is the one that is taken where none is named."""
    return encoding.lower().replace("_", "-") in {"utf-8", "utf8"}


def marked(data: bytes, encoding: str) -> str:
    """Return the encoding that a byte-order mark tells, where no other than UTF-8 was named; else the named one."""
    if not is_utf8(encoding):
        return encoding
    return next((name for mark, name in MARKS.items() if data.startswith(mark)), encoding)


def decode(data: bytes, encoding: str, where: str) -> str:
    """Return the text of some bytes; a byte-order mark is no part of it.

    Raises:
        DataError: the bytes are in another encoding, which names the line, or there is no such encoding.
    """
    encoding = marked(data, encoding)
    decoder = decoder_of(encoding)
    refuse_unmarked_utf16(data[:SAMPLE], encoding, where)
    try:
        return decoder.decode(data, final=True)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise wrong_encoding(f"{where}, line {line}", data, error.start, encoding) from None


def refuse_unmarked_utf16(data: bytes, encoding: str, where: str) -> None:
    """Refuse UTF-16 without its mark, which is valid UTF-8 where the text is English.

    Raises:
        DataError: each second byte is zero.
    """
    if is_utf8(encoding) and data.count(0) > len(data) // 4:
        name = "utf-16-le" if data[1::2].count(0) >= data[::2].count(0) else "utf-16-be"
        raise DataError(f"{where}: each second byte is zero, as in UTF-16 without its mark; --encoding {name} reads it")


def wrong_encoding(where: str, data: bytes, place: int, encoding: str) -> DataError:
    """Return the error of bytes that are no text in an encoding from some place on; it names the likely one first."""
    byte = f"byte {data[place]:#04x}" if place < len(data) else "the end"
    first = likely_encoding(data[max(0, place - SAMPLE) : place + SAMPLE])
    others = [name for name in ("latin-1", "gb18030", "utf-16") if name != first]
    return DataError(
        f"{where}: {byte} is not {encoding}; "
        f"name the file's encoding, for example --encoding {first}, {others[0]} or {others[1]}"
    )


def likely_encoding(data: bytes) -> str:
    """Return the encoding that bytes which are no UTF-8 are likely in."""
    runs = HIGH_RUNS.findall(data)
    high = sum(map(len, runs))
    if KANA_OF_SHIFT_JIS.search(data) and _decodes(data, "shift_jis"):
        return "shift_jis"
    in_pairs = sum(len(run) for run in runs if len(run) > 1)
    if high >= 4 and in_pairs >= 0.9 * high and _decodes(data, "gb18030"):
        common = sum(0xB0 <= run[place] <= 0xD7 for run in runs for place in range(0, len(run) - 1, 2))
        if common >= 0.3 * high / 2:
            return "gb18030"
    if runs and high / len(runs) >= 3 and _decodes(data, "cp1251") and not UNUSED_IN_WINDOWS.search(data):
        return "cp1251"
    if WINDOWS_SIGNS.search(data) and not UNUSED_IN_WINDOWS.search(data):
        return "cp1252"
    return "latin-1"


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(data.lstrip(b"\x80\x81"))  # a last character may be cut
    except UnicodeDecodeError:
        return False
    return True


def warning_of(data: bytes, encoding: str) -> str | None:
    """Return what is likely wrong with an encoding that reads the bytes: latin-1 reads any."""
    if encoding.lower().replace("_", "-") not in LATIN_1:
        return None
    found = WINDOWS_SIGNS.search(data)
    if found is None or UNUSED_IN_WINDOWS.search(data):
        return None
    line = data.count(b"\n", 0, found.start()) + 1
    return (
        f"byte {found[0][0]:#04x} in line {line} is a control character in {encoding}; it is likely --encoding cp1252"
    )


def decoder_of(encoding: str) -> codecs.IncrementalDecoder:
    """Return a decoder of bytes that come in parts; a byte-order mark is no part of the text.

    Raises:
        DataError: there is no such encoding.
    """
    try:
        return codecs.getincrementaldecoder("utf-8-sig" if is_utf8(encoding) else encoding)()
    except LookupError:
        raise DataError(f"--encoding {encoding!r} is not a known character encoding") from None
