"""Files given by mistake, known by their first bytes, and what to do instead."""

from __future__ import annotations

from ...errors import DataError

GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
EMPTY_HINT = "is it the right file, or was its writing cut off?"

_SPREADSHEET = "open it in the spreadsheet program and save the sheet as CSV (UTF-8)"
_UNPACK = "unpack it and give the file inside (gzip is read as it is)"
_FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (xls or doc)", _SPREADSHEET),
    (b"%PDF-", "a PDF", "export the table as CSV"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz file", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"ARROW1\x00\x00", "an Arrow/Feather file", "save the table as Parquet or CSV"),
    (b"ORC", "an ORC file", "save the table as Parquet or CSV"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save the table as Parquet or CSV"),
    (b"\x93NUMPY", "a NumPy array", "save the rows as CSV or JSONL"),
    (b"GGUF", "a GGUF model", "give the data file, not a model"),
    (b"\x7fELF", "a program", "give the data file"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", "give a file of texts"),
    (b"\xff\xd8\xff", "a JPEG image", "give a file of texts"),
    (b"{\\rtf", "a rich-text document", "save it as plain text or CSV"),
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the data itself", "run `git lfs pull`"),
)


def refuse_foreign(head: bytes, name: str) -> None:
    """Raises DataError with a hint when `head`, the first (expanded) bytes, shows another kind of file."""
    if not head:
        raise DataError(f"{name} is empty (0 bytes)", hint=EMPTY_HINT)
    found = _recognise(head)
    if found:
        raise DataError(f"{name} is {found[0]}, not a table of texts", hint=found[1])


def _recognise(head: bytes) -> tuple[str, str] | None:
    for magic, kind, hint in _FOREIGN:
        # ORC is also an English word in capitals: the binary that follows decides
        if head.startswith(magic) and (magic != b"ORC" or b"\0" in head[:64]):
            return kind, hint
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(head)
    if head.startswith(GZIP):
        return "gzip inside gzip", "unpack it once"
    if head[:3] == b"BZh" and head[4:10] == b"1AY&SY":
        return "a bzip2 file", _UNPACK
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and b"." in head[2:]:
        return "a Python pickle, which is never opened because it can run code", "save the rows as CSV or JSONL"
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page", "perhaps a sign-in or error page was saved in place of the data; download it again"
    if start.startswith(b"<?xml"):
        return "an XML file", "convert it to CSV or JSONL"
    return None


def _zip_kind(head: bytes) -> tuple[str, str]:
    if b"xl/" in head or b"[Content_Types].xml" in head[:256]:
        return "a spreadsheet or Office file (xlsx)", _SPREADSHEET
    if b"mimetypeapplication/vnd.oasis" in head[:256]:
        return "a spreadsheet or Office file (ods)", _SPREADSHEET
    return "a zip archive", _UNPACK
