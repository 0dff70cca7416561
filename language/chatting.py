"""Talking with a model, token by token."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
import torch

from .causal_lm import CausalLM
from .conversation import Message
from .families import make_memory
from .sampling import check_sampling, sample


class ContextFullError(ValueError):
    """The conversation fills the model's positions."""


class Chat:
    """A conversation with a model that has a chat template.

    `say` gives the pieces of an answer as they are written, and `messages` is what has been said so far.
    """

    def __init__(
        self,
        lm: CausalLM,
        *,
        system: str | None = None,
        max_new_tokens: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> None:
        check_sampling(temperature, top_k, top_p)
        self.lm, self.max_new_tokens = lm, max_new_tokens
        self._template = lm.chat
        self._how = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        self._first: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        self._template.prompt([*self._first, {"role": "user", "content": "Hello"}])  # whether it takes the system
        self._draws = np.random.default_rng(seed)
        self._memory = make_memory(lm, 1)
        self._row = np.zeros(1, np.int64)
        self.reset()

    def reset(self) -> None:
        """Forget what has been said."""
        self.messages = list(self._first)
        self._read: list[int] = []  # the tokens in memory
        self._memory.reset(self._row)

    def say(self, text: str) -> Generator[str]:
        """Return the answer to `text`, piece by piece, up to the end of the turn or of the model's positions.

        An answer that is closed before its end stays as it is.
        """
        asked: list[Message] = [*self.messages, {"role": "user", "content": text}]
        prompt = self._template.tokens(asked).tolist()
        room = self.max_new_tokens if self.lm.context is None else self.lm.context - len(prompt)
        if room is not None and room < 1:
            raise ContextFullError(
                f"the conversation has {len(prompt)} tokens, and {self.lm} has {self.lm.context} positions: begin anew"
            )
        self.messages = asked
        room = min(size for size in (room, self.max_new_tokens, 1 << 62) if size is not None)
        return self._answer(prompt, room)

    def _answer(self, prompt: list[int], room: int) -> Generator[str]:
        written, shown = list[int](), ""
        try:
            for token in self._tokens(prompt, room):
                written.append(token)
                whole = self.lm.continuation(prompt[-1:], written)
                if not whole.endswith("\ufffd"):  # part of a character waits for the rest
                    yield whole[len(shown) :]
                    shown = whole
            yield self.lm.continuation(prompt[-1:], written)[len(shown) :]
        finally:
            answer = self.lm.continuation(prompt[-1:], written)
            self.messages.append({"role": "assistant", "content": answer.strip()})

    @torch.no_grad()
    def _tokens(self, prompt: list[int], room: int) -> Iterator[int]:
        known = len(self._read)
        if not 0 < known < len(prompt) or prompt[:known] != self._read:  # the template has rewritten earlier turns
            self._memory.reset(self._row)
            self._read, known = [], 0
        new = prompt[known:]
        for _ in range(room):
            hidden = self._memory.read(self._row, [np.array(new)])
            self._read += new
            uniform = torch.tensor([self._draws.random()], dtype=torch.float32, device=self.lm.device)
            tokens, _ = sample(self.lm.head(hidden), uniform=uniform, **self._how)  # type: ignore[arg-type]
            token = int(tokens)
            if token in self.lm.eos_ids:
                return
            yield token
            new = [token]
