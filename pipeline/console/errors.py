"""Mistakes of the user, reported in one line with the remedy."""

from __future__ import annotations

import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """Something the user can correct; the command prints it as one line and exits with `status`."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(" ".join(message.split()))
        self.status = status


@contextlib.contextmanager
def as_user_error(*kinds: type[Exception], about: str = "") -> Iterator[None]:
    """Turn exceptions of these kinds into a UserError that begins with `about`.

    Wrap as little code as possible: anything else that is raised is a bug and should keep its traceback.
    """
    try:
        yield
    except kinds as error:
        message = str(error)
        if isinstance(error, KeyError):  # its text is the repr of a message, or of a bare key
            message = str(error.args[0]) if " " in message else f"KeyError {message}"
        raise UserError(f"{about}: {message}" if about else message) from error


_REMEDIES = (
    (
        {errno.ENOSPC, errno.EDQUOT, errno.EFBIG},
        "free some space (a run that had begun then continues with `textrlhf resume DIR`), or name a folder elsewhere",
    ),
    ({errno.EACCES, errno.EPERM, errno.EROFS}, "change its permissions, or name another folder"),
    ({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}, "name another folder"),
)


@contextlib.contextmanager
def files_as_user_errors() -> Iterator[None]:
    """Turn errors of files that a user can correct (a full disk, a read-only folder) into a UserError."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError) and error.errno is None:  # of ours, with the remedy
            raise UserError(str(error)) from error
        for numbers, remedy in _REMEDIES:
            if error.errno in numbers:
                where = f"{error.filename}: " if error.filename else ""
                raise UserError(f"{where}{error.strerror}: {remedy}") from error
        raise


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most similar to a misspelt one, if any."""
    names = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return names[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """A hint at the most similar known name, else `otherwise`."""
    near = nearest(name, known)
    return f"did you mean {near}?" if near else otherwise
