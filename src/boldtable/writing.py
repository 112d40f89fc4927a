"""Files that appear whole or not at all, written by one process at a time, and never by one whose run is over.

A file is written under a hidden name beside its own, ``.{name}.tmp``, and takes its name when it is complete and on
the disk. The writer holds an advisory lock on the hidden file, which the kernel lets go when the process ends, however
it ends: what a dead writer has left is written over, a living one is waited for. Where the file system knows no locks
(some network file systems), every writer has a hidden name of its own.

A run of the workflow tells its jobs who they are working for (`boldtable.running`). Where another run has taken the
study over since, a job that was left behind refuses to put its file in place.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from boldtable import running
from boldtable.errors import BoldtableError, InputError, OutputError
from boldtable.progress import say

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = ("no space left", "os error 28", "disk quota exceeded", "os error 122")
_SPARE_BYTES = 1_000_000  # a writer that hides its reason (torch) and a disk with less than this: it is full


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes its name only when the block ends without an error.

    Raises `InputError` when the folder cannot be written, `OutputError` when the disk is full or when the run that this
    process belongs to has been taken over by another.
    """
    handle, temporary = _opened(path)
    try:
        with writing(path):
            yield temporary
            _allow_readers(temporary)
            sync(temporary)
            running.refuse_outlived(path)
            temporary.replace(path)
            sync(path.parent)
    finally:
        with suppress(OSError):
            if _is(handle, temporary):  # not what the next writer has begun
                temporary.unlink()
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (UTF-8, line feeds as given)."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever a full disk makes a library raise into `OutputError`, one line that names `path`."""
    try:
        yield
    except BoldtableError:
        raise
    except Exception as error:
        if is_full(error, path.parent):
            raise OutputError(
                f"cannot write {path}: no space left on the disk; make room, then start the same command again"
            ) from None
        raise


def is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error, or one that it came from, says that the disk of `folder` is full."""
    seen: BaseException | None = error
    while seen is not None:
        words = str(seen).lower()
        if getattr(seen, "errno", None) in _FULL or any(one in words for one in _FULL_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    if not isinstance(error, RuntimeError):
        return False
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize < _SPARE_BYTES


@contextmanager
def alone(folder: Path) -> Iterator[int]:
    """Hold a folder that one process at a time may work in; another that holds it is waited for.

    The folder is made where it is missing, and may be removed inside the block. Yields the handle that keeps the lock,
    for child processes to keep it too.
    """
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot write {folder}: {error.strerror}; choose a folder that can be written") from None
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if not _lock(handle, str(folder)) or _is(handle, folder):
            break
        os.close(handle)  # the one waited for has finished and removed it
    try:
        yield handle
    finally:
        os.close(handle)


def sync(path: Path) -> None:
    """Bring a file or folder to the disk, so that it outlives a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems cannot do this for folders
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def _opened(path: Path) -> tuple[int, Path]:
    """The hidden file, empty and locked: a handle that keeps the lock, and its path."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        while True:
            handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not _lock(handle, str(path)):
                os.close(handle)
                temporary.unlink(missing_ok=True)
                handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
                return handle, Path(name)
            if _is(handle, temporary):
                os.truncate(handle, 0)
                return handle, temporary
            os.close(handle)  # the one waited for has put this file in place: begin another
    except OSError as error:
        if error.errno in _FULL:
            raise OutputError(f"cannot write {path}: no space left on the disk; make room and start again") from None
        raise InputError(f"cannot write {path}: {error.strerror}; choose a folder that can be written") from None


def _lock(handle: int, what: str) -> bool:
    """Lock a file, waiting with a line where another process has it; False where the file system knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another process is writing {what}: waiting until it is done or gone")
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF):
            raise
        return False
    return True


def _is(handle: int, path: Path) -> bool:
    """Whether a path still names the file that a handle is of."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _allow_readers(path: Path) -> None:
    """Temporary files are private; a result gets the permissions any new file of this user would get."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
