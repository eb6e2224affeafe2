"""Telling a file that is UTF-8 but for a few bytes from one that is written in another encoding throughout."""

from __future__ import annotations

import codecs
from typing import IO

from webapp.errors import UnreadableFile

SAMPLE_BYTES = 1_000_000
REMEDY = "save it again as UTF-8 (Excel: CSV UTF-8; Notepad: Save as, Encoding UTF-8)"


def refuse_others(file: IO[bytes]) -> None:
    """Look at the beginning of a file, and go back to its start.

    Raises:
        UnreadableFile: it is UTF-16 by its byte order mark or its NUL bytes. Or no line needs UTF-8 to be read, and two
            or more, a tenth of all, cannot be: then nothing is lost by asking for another encoding of all of it.
    """
    sample = file.read(SAMPLE_BYTES)
    file.seek(0)
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UnreadableFile(f"the file is UTF-16, as its byte order mark says; expected UTF-8: {REMEDY}")
    if sample.count(0) * 4 > len(sample):
        raise UnreadableFile(f"the file looks like UTF-16: many of its bytes are 0; expected UTF-8: {REMEDY}")
    lines = sample.removeprefix(codecs.BOM_UTF8).splitlines()
    if len(sample) == SAMPLE_BYTES:
        lines = lines[:-1]  # Cut off, perhaps in the middle of a character
    beyond_ascii = [line for line in lines if not line.isascii()]
    if any(_is_written_in(line, "utf-8") for line in beyond_ascii):
        return
    if len(beyond_ascii) >= max(2, len(lines) / 10):
        is_windows = all(_is_written_in(line, "windows-1252") for line in beyond_ascii)
        guess = "the file looks like Windows-1252" if is_windows else "the file is in another encoding"
        raise UnreadableFile(
            f"{guess}: {len(beyond_ascii):,} of its first {len(lines):,} lines are not UTF-8; expected UTF-8: {REMEDY}"
        )


def _is_written_in(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
