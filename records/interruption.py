"""Ctrl-C and SIGTERM while training: the first one ends it after the running update, a second one at once."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)  # a handler of the user's own is left alone


class Interruption:
    """Whether training is to end; true after the first signal."""

    def __init__(self, then: str) -> None:
        self.then = then
        self.signal = 0

    def __bool__(self) -> bool:
        return bool(self.signal)

    def end(self, message: str = "") -> NoReturn:
        """Raise KeyboardInterrupt for SIGINT, and for SIGTERM SystemExit(143) after printing the message."""
        number, self.signal = self.signal, 0
        if number == signal.SIGINT:
            raise KeyboardInterrupt(message)
        if message:
            _say(message)
        raise SystemExit(128 + number)

    def _handle(self, number: int, frame: Any) -> None:
        if self:
            self.signal = number
            self.end("stopped at once")
        self.signal = number
        again = "press Ctrl-C again to stop" if number == signal.SIGINT else "a second SIGTERM stops"
        _say(f"{self.then}; {again} at once")


@contextlib.contextmanager
def interruptible(then: str) -> Iterator[Interruption]:
    """Take SIGINT and SIGTERM while the block runs, if it runs in the main thread.

    The block looks at what is yielded and calls its `end`. `then` says what it does until then.
    """
    interruption, before = Interruption(then), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) in DEFAULTS:
                before[number] = signal.signal(number, interruption._handle)
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interruption:  # too late for the block to notice
        interruption.end()


def _say(message: str) -> None:
    with contextlib.suppress(RuntimeError):  # the signal came while something was printed
        print(f"textrlhf: {message}", file=sys.stderr, flush=True)
