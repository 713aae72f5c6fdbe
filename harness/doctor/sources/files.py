"""Files as text, and folders walked: what nobody wrote by hand is left out."""

import os
from collections.abc import Iterator
from pathlib import Path

from harness.doctor.sources.text import Source, SourceError

LEFT_OUT = ("node_modules", "vendor", "venv", "env", "__pycache__", "dist", "build", "target")  # and what begins with .


def read(path: str) -> Source:
    """A file as text. Raises SourceError for one that cannot be read or is no UTF-8."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from None
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return Source(path, content.decode(encoding))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SourceError(
            f"{path}:{line}: byte 0x{content[error.start]:02x} is no {encoding.upper()[:6].rstrip('-')}; "
            "save the file as UTF-8, or leave it out"
        ) from None


def walk(folder: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """The files of a folder and of those in it, by name. Raises SourceError for a folder that cannot be read."""

    def refuse(error: OSError) -> None:
        raise SourceError(f"{error.filename}: cannot be read: {error.strerror}")

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT and not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if name.lower().endswith(suffixes))
