"""Ctrl-C and SIGTERM while training: the first one ends it after the running update, a second one at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

DEFAULTS: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class Interruption:
    """Whether training is to end; true after the first signal."""

    def __init__(self, then: str) -> None:
        self.then, self.process = then, os.getpid()
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
        if os.getpid() != self.process:  # an environment's, forked from this one, which may be ended as ever
            signal.signal(number, DEFAULTS[number])
            signal.raise_signal(number)
            return
        if self:
            self.signal = number
            self.end("stopped at once")
        self.signal = number
        again = "press Ctrl-C again to stop" if number == signal.SIGINT else "a second SIGTERM stops"
        _say(f"{self.then}; {again} at once")


@contextlib.contextmanager
def interruptible(then: str) -> Iterator[Interruption]:
    """Take SIGINT and SIGTERM while the block runs, in the main thread and if they have no handlers of the user's own.

    The block looks at what is yielded and calls its `end`. `then` says what it does until then.
    """
    interruption, taken = Interruption(then), []
    if threading.current_thread() is threading.main_thread():
        taken = [number for number, handler in DEFAULTS.items() if signal.getsignal(number) == handler]
    for number in taken:
        signal.signal(number, interruption._handle)
    try:
        yield interruption
    except Exception as error:  # such as of environments in processes that ended at once
        if not interruption:
            raise
        interruption.end(f"interrupted within an update: its end failed ({type(error).__name__}: {error})")
    finally:
        for number in taken:
            signal.signal(number, DEFAULTS[number])
    if interruption:  # too late for the block to notice
        interruption.end()


@contextlib.contextmanager
def without_interrupts() -> Iterator[None]:
    """Ignore Ctrl-C; so do processes started in the block, to which a terminal sends it too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


def _say(message: str) -> None:
    with contextlib.suppress(RuntimeError):  # the signal came while something was printed
        print(f"textrlhf: {message}", file=sys.stderr, flush=True)
