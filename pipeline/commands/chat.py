"""`textrlhf chat`: talk with a trained language model, or any other."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.control import strip_control_codes

from ..console.arguments import parse
from ..console.checks import at_least_one, check_device
from ..console.errors import as_user_error
from ..console.printing import line
from ..runs.language_model import language_model_named

if TYPE_CHECKING:
    from ...language.chatting import Chat

HELP = "/reset begins anew, /exit leaves; Ctrl-C stops an answer, and a second one or one here the chat"


@dataclass
class Options:
    """Talk with an instruct model: what you write are the user's turns, and it answers through its chat template.

    Lines may also come from a file or another program: textrlhf chat MODEL < questions.txt

    Example:
      textrlhf chat runs/my-run --system "Be brief."
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL|RUN")]
    """a run, whose language model is used, or a model: a folder, a hub id"""
    system: str | None = None
    """a system message; by default the template's own, where it has one"""
    max_new_tokens: int | None = None
    """longest answer; by default as many tokens as the model has positions for"""
    temperature: float = 1.0
    """1 samples as in training, less is more deterministic, 0 takes the most likely token"""
    top_k: int | None = None
    """sample from the K most likely tokens only"""
    top_p: float | None = None
    """sample from the most likely tokens with this total probability only"""
    seed: int = 0
    """random seed"""
    device: str = "auto"
    """where the model runs: auto, cpu or cuda"""


def chat(argv: Sequence[str]) -> None:
    """Run `textrlhf chat`."""
    options = parse(Options, argv, "chat")
    at_least_one("--max-new-tokens", options.max_new_tokens)
    check_device(options.device)

    from ...language import LanguageError, load
    from ...language.chatting import Chat

    with as_user_error(LanguageError):
        lm = load(language_model_named(options.model), options.device)
    with as_user_error(ValueError):
        talk = Chat(
            lm,
            system=options.system,
            max_new_tokens=options.max_new_tokens,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=options.seed,
        )
    if sys.stdin.isatty():
        line(HELP, "dim")
    for text in _lines():
        if text == "/exit":
            break
        if text == "/reset":
            talk.reset()
        elif text.startswith("/"):
            line(f"There is no {text.split()[0]}: {HELP}", "dim")
        elif text:
            _answer(talk, text)


def _lines() -> Iterator[str]:
    """What the user writes, line by line."""
    while True:
        try:
            yield (input("> ") if sys.stdin.isatty() else next(sys.stdin)).strip()
        except (EOFError, StopIteration):
            return
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            print()
            return


def _answer(talk: Chat, text: str) -> None:
    from ...language import ChatTemplateError
    from ...language.chatting import ContextFullError

    try:
        pieces = talk.say(text)
    except ContextFullError as error:
        line(f"{error} with /reset", "yellow")
        return
    except ChatTemplateError as error:
        line(str(error), "yellow")
        return
    with _interruptible() as interrupted, contextlib.closing(pieces):
        for i, piece in enumerate(pieces):
            piece = piece if i else piece.lstrip()  # some models begin an answer with a space
            print(strip_control_codes(piece), end="", flush=True)
            if interrupted():
                break
    print(flush=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """On a terminal the first Ctrl-C in the block only makes what is yielded true, so that no token is half read."""
    pressed: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    if not sys.stdin.isatty() or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
