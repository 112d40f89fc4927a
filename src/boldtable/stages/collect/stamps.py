"""What a file holds, without reading all of it: a digest that a repaired or replaced file changes.

Size and time alone are not enough: a file edited in place may keep both. A small file is hashed whole; of a large one
(an image of gigabytes) size, time and its first and last blocks, which differ between any two compressed files.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from boldtable.errors import InputError
from boldtable.reading.bounded import open_regular

SMALL_BYTES = 1_000_000
_BLOCK_BYTES = 16_384


def digest(path: Path) -> str:
    """Return what identifies the content of a file, or says that there is none to be read."""
    try:
        stat = path.stat()
        with open_regular(path) as file:
            found = hashlib.sha256(file.read(SMALL_BYTES if stat.st_size <= SMALL_BYTES else _BLOCK_BYTES))
            if stat.st_size > SMALL_BYTES:
                file.seek(-_BLOCK_BYTES, 2)
                found.update(file.read())
                found.update(str(stat.st_mtime_ns).encode())
    except (OSError, InputError) as error:
        return f"unread: {type(error).__name__}"
    return f"{stat.st_size} {found.hexdigest()}"
