"""A user's mistakes, told in one line with the remedy."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class UserError(Exception):
    """What the user can put right; the command prints it as one line and ends with `status`."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(" ".join(message.split()))
        self.status = status


@contextlib.contextmanager
def as_user_error(*kinds: type[Exception], about: str = "") -> Iterator[None]:
    """Turn exceptions of these kinds into a UserError that opens with `about`.

    To be held around as little code as possible: whatever else goes wrong is our own fault, and keeps its traceback.
    """
    try:
        yield
    except kinds as error:
        message = str(error)
        if isinstance(error, KeyError):  # its text is the repr of a message, or of a bare key
            message = str(error.args[0]) if " " in message else f"KeyError {message}"
        raise UserError(f"{about}: {message}" if about else message) from error


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like a misspelt one, if any is."""
    names = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return names[found[0]] if found else None
