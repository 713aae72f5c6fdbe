"""Report files: whole or not there, and never another run's half."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_whole(path: str | Path, text: str) -> None:
    """Written beside its place and renamed: whoever looks meanwhile sees the old file or the new one."""
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        # Half a surrogate pair in somebody's data must not cost the report; in JSON this is even its spelling.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.chmod(name, 0o644)  # mkstemp keeps its files private; a report is for the next job of the pipeline
        os.replace(name, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
