"""A text rendered token by token, each coloured by its KL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...language import Conversation

if TYPE_CHECKING:
    from .engine import TextEngine

DIM, PLAIN, BOLD = "\033[2m", "\033[0m", "\033[1m"
SHADES = ((0.5, "\033[32m"), (2.0, "\033[33m"), (np.inf, "\033[31m"))  # KL up to so many nats: green, yellow, red


class Show:
    """One slot's text, rendered whole or as it grows."""

    def __init__(self) -> None:
        self._shown = 0  # tokens already printed
        self._end: dict[str, Any] | None = None

    def begin(self, engine: TextEngine, row: int) -> str:
        """Begin a new text and return its prompt."""
        self._shown, self._end = int(engine.lengths[row]), None
        return f"{DIM}{engine.records[row].text}{PLAIN}"

    def note(self, info: dict[str, Any]) -> None:
        """Keep the info of a text's last step."""
        self._end = info if "finish_reason" in info else None

    def more(self, engine: TextEngine, row: int) -> str:
        """Return what was added since the last call."""
        text, self._shown = _pieces(engine, row, self._shown)
        return text + self._line()

    def whole(self, engine: TextEngine, row: int) -> str:
        """Return prompt, response and, at the end, the score."""
        prompt = int(engine.prompt_lengths[row])
        return f"{DIM}{engine.records[row].text}{PLAIN}{_pieces(engine, row, prompt)[0]}{self._line()}"

    def _line(self) -> str:
        if self._end is None:
            return ""
        named = {name: value for name, value in self._end.items() if isinstance(value, float) and name != "ref_logprob"}
        figures = "  ".join(f"{name} {value:+.2f}" for name, value in named.items())
        return f"\n{BOLD}{figures}{PLAIN}  ({self._end['finish_reason']}, {self._end['length']} tokens)\n"


def _pieces(engine: TextEngine, row: int, start: int) -> tuple[str, int]:
    """The coloured tokens from `start` on and how far they go: an incomplete character waits for its next token."""
    end = int(engine.lengths[row])
    tokens, shades = engine.tokens[row], engine.shades(row)
    special = isinstance(engine.records[row].text, Conversation)  # a template's tokens tell who speaks
    text, out, shown = engine.lm.decode(tokens[:start], special=special), [], start
    for i in range(start, end):
        whole = engine.lm.decode(tokens[: i + 1], special=special)
        if whole.endswith("\ufffd"):
            continue
        kl = shades[i]
        colour = "" if np.isnan(kl) else next(shade for limit, shade in SHADES if abs(kl) <= limit)
        out.append(f"{colour}{whole[len(text) :]}{PLAIN if colour else ''}")
        text, shown = whole, i + 1
    return "".join(out), shown
