"""The KL penalty of each token, −β · (log π(a) − log π_ref(a)): paid with its step, later, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...language import CausalLM, TokenMemory, make_memory, token_logprobs
from ...language.device_copies import PackedUpload
from ...language.logprobs import Allowed, Choices, choice_logprobs
from .action_masks import Rules

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Texts(Protocol):
    """The texts, as the engine keeps them."""

    tokens: Ints  # (N, context)
    lengths: Ints  # (N,)
    rules: Rules


@dataclass
class Step:
    """One token for each of `rows`, about to be appended."""

    rows: Ints
    tokens: Ints  # (R,)
    logprobs: Floats  # (R,) the agent's
    rules: Ints  # (R,) rows of the table of masks
    kl_coef: float


class KLPenalty:
    """`kl_penalty="none"`: no penalty, and no forward of the reference."""

    def __init__(self, lm: CausalLM, texts: Texts) -> None:
        self.lm, self.texts, self.n = lm, texts, len(texts.lengths)
        table = texts.rules.table if texts.rules.active else None
        self._table = None if table is None else torch.from_numpy(table).to(lm.device)

    def begin(self, rows: Ints) -> None:
        """New texts begin in these rows."""

    def leave(self, rows: Ints) -> None:
        """The texts in these rows will be replaced, whether or not they have ended."""

    def note(self, step: Step) -> Floats | None:
        """Note a step; return the reference's log-probabilities of its tokens if they are computed now."""
        return None

    def close(self, rows: Ints) -> list[tuple[Floats, Floats]] | None:
        """Texts have ended: return the penalties and the KL of each one's tokens if these are to be paid now."""
        return None

    def settle(self) -> list[Floats]:
        """Compute and return the pending KL penalties of each slot, in order."""
        return [np.empty(0) for _ in range(self.n)]

    def settled_kl(self) -> list[Floats]:
        """Return log π − log π_ref of the tokens of the last `settle()`, in the same form."""
        return [np.empty(0) for _ in range(self.n)]

    def forget(self) -> None:
        """All slots start over: drop what is pending, and expect no `settle()`."""

    def _allowed(self, rules: Tensor) -> Allowed | None:
        table = self._table
        if table is None:
            return None
        held = rules.to(table.device)
        return lambda choices: table[held[choices]]


class TokenKLPenalty(KLPenalty):
    """`kl_penalty="token"`: the reference evaluates each token as it is written."""

    def __init__(self, lm: CausalLM, texts: Texts) -> None:
        super().__init__(lm, texts)
        self.memory: TokenMemory = make_memory(lm, self.n)

    def begin(self, rows: Ints) -> None:
        """New texts begin in these rows."""
        self.memory.reset(rows)

    def forget(self) -> None:
        """All slots start over, with a new cache: the size of the old one affects how sums are rounded."""
        self.memory = make_memory(self.lm, self.n)

    @torch.no_grad()
    def note(self, step: Step) -> Floats:
        """Return the reference's log-probabilities of the step's tokens."""
        if not len(step.rows):  # NEXT_STEP: all slots may be restarting
            return np.empty(0)
        upload = PackedUpload(self.lm.device)
        chosen, rules = upload.add(step.tokens), upload.add(step.rules)
        hidden = self.memory.catch_up(step.rows, self.texts.tokens, self.texts.lengths, upload)
        logprobs = token_logprobs(self.lm, hidden, upload[chosen], self._allowed(upload[rules]))
        found: Floats = logprobs.cpu().double().numpy()
        _check_finite(self.lm, found, step.tokens)
        return found


@dataclass
class _Pending:
    """The tokens of a text whose penalties are pending."""

    positions: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    rules: list[int] = field(default_factory=list)
    kl_coefs: list[float] = field(default_factory=list)
    text: Ints = field(default_factory=lambda: np.empty(0, np.int64))  # up to the last of these tokens


class DeferredKLPenalty(KLPenalty):
    """`kl_penalty="deferred"`: penalties stay pending until `settle()`, or without such calls until the text's end."""

    def __init__(self, lm: CausalLM, texts: Texts) -> None:
        super().__init__(lm, texts)
        self.caller_settles = False
        self._running = [_Pending() for _ in range(self.n)]
        self._ended: list[list[_Pending]] = [[] for _ in range(self.n)]
        self._settled_kl: list[Floats] = [np.empty(0)] * self.n

    def begin(self, rows: Ints) -> None:
        """New texts begin in these rows."""
        for row in rows.tolist():
            self._running[row] = _Pending()

    def leave(self, rows: Ints) -> None:
        """The texts in these rows are replaced: if the caller settles, those cut short stay pending."""
        for row in rows.tolist():
            if self.caller_settles and self._running[row].tokens:  # cut short by a TimeLimit wrapper or a reset
                self._ended[row].append(self._take(row))

    def note(self, step: Step) -> None:
        """Note a step; its penalties are pending."""
        positions = self.texts.lengths[step.rows]
        every = (step.rows, positions, step.tokens, step.logprobs, step.rules)
        for row, position, token, logprob, rule in zip(*(column.tolist() for column in every), strict=True):
            pending = self._running[row]
            pending.positions.append(position)
            pending.tokens.append(token)
            pending.logprobs.append(logprob)
            pending.rules.append(rule)
            pending.kl_coefs.append(step.kl_coef)

    def close(self, rows: Ints) -> list[tuple[Floats, Floats]] | None:
        """Texts have ended: return their penalties and KL, unless the caller settles."""
        ended = [self._take(row) for row in rows.tolist()]
        if not self.caller_settles:
            return self._penalties(ended)
        for row, pending in zip(rows.tolist(), ended, strict=True):
            self._ended[row].append(pending)
        return None

    def settle(self) -> list[Floats]:
        """Compute and return the pending KL penalties of each slot; from now on the caller is expected to settle."""
        self.caller_settles = True
        due = [[*ended, self._take(row)] for row, ended in enumerate(self._ended)]
        self._ended = [[] for _ in range(self.n)]
        found = iter(self._penalties([pending for slot in due for pending in slot]))
        slots = [[next(found) for _ in slot] for slot in due]
        self._settled_kl = [np.concatenate([kl for _, kl in slot]) for slot in slots]
        return [np.concatenate([penalties for penalties, _ in slot]) for slot in slots]

    def settled_kl(self) -> list[Floats]:
        """Return log π − log π_ref of the tokens of the last `settle()` in order, one array per slot."""
        return self._settled_kl

    def forget(self) -> None:
        """All slots start over: drop what is pending, and expect no `settle()`."""
        self.caller_settles = False
        self._running = [_Pending() for _ in range(self.n)]
        self._ended = [[] for _ in range(self.n)]

    def _take(self, row: int) -> _Pending:
        pending, self._running[row] = self._running[row], _Pending()
        pending.text = self.texts.tokens[row, : self.texts.lengths[row]].copy()
        return pending

    def _penalties(self, every: Sequence[_Pending]) -> list[tuple[Floats, Floats]]:  # penalties, KL
        some = [pending for pending in every if pending.tokens]
        rules = np.array([rule for pending in some for rule in pending.rules], np.int64)
        choices = [Choices(pending.text, np.array(pending.positions), np.array(pending.tokens)) for pending in some]
        found = iter(choice_logprobs(self.lm, choices, self._allowed(torch.from_numpy(rules))))
        penalties = []
        for pending in every:
            reference = next(found) if pending.tokens else np.empty(0)
            _check_finite(self.lm, reference, pending.tokens)
            kl = np.array(pending.logprobs) - reference
            penalties.append((-np.array(pending.kl_coefs) * kl, kl))
        return penalties


def _check_finite(lm: CausalLM, logprobs: Floats, tokens: Sequence[int] | Ints) -> None:
    if not np.isfinite(logprobs).all():
        i = int(np.flatnonzero(~np.isfinite(logprobs))[0])
        raise FloatingPointError(
            f"the log-probability of token {tokens[i]} under the reference {lm} is {logprobs[i]}: its weights have a "
            "NaN or an infinity"
        )


KL_PENALTIES: dict[str, type[KLPenalty]] = {"token": TokenKLPenalty, "deferred": DeferredKLPenalty, "none": KLPenalty}
