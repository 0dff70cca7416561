"""The KL penalty of each token, −β · (log π(a) − log π_ref(a)): paid with its step, later, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

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


class KLPenalty:
    """`kl_penalty="none"`: no penalty, and no forward of the reference."""

    def __init__(self, lm: CausalLM, texts: Ints, lengths: Ints, rules: Rules) -> None:  # (N, context), (N,)
        """Take the engine's own arrays, which it changes."""
        self.lm, self.texts, self.lengths, self.n = lm, texts, lengths, len(lengths)
        self._table = torch.from_numpy(rules.table).to(lm.device) if rules.active else None
        self._settled_kl: list[Floats] = [np.empty(0)] * self.n

    def leave(self, rows: Ints) -> None:
        """The texts in these rows will be replaced, whether or not they have ended."""

    def note(self, rows: Ints, tokens: Ints, logprobs: Floats, rules: Ints, kl_coef: float) -> Floats | None:
        """Note a token about to be appended in each of `rows`, with the agent's log-probability and its masks' row.

        Return the reference's log-probabilities if they are computed now.
        """
        return None

    def close(self, rows: Ints) -> list[tuple[Floats, Floats]] | None:
        """Texts have ended: return the penalties and the KL of each one's tokens if these are to be paid now."""
        return None

    def settle(self) -> list[Floats]:
        """Compute and return the pending KL penalties of each slot, in order."""
        return [np.empty(0) for _ in range(self.n)]

    def settled_kl(self) -> list[Floats]:
        """Return log π − log π_ref of the tokens of the last `settle()`, in the same form."""
        return self._settled_kl

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

    def __init__(self, lm: CausalLM, texts: Ints, lengths: Ints, rules: Rules) -> None:
        super().__init__(lm, texts, lengths, rules)
        self.memory: TokenMemory = make_memory(lm, self.n)

    def leave(self, rows: Ints) -> None:
        """The texts in these rows will be replaced: the cache forgets them."""
        self.memory.reset(rows)

    def forget(self) -> None:
        """All slots start over, with a new cache: the size of the old one affects how sums are rounded."""
        self.memory = make_memory(self.lm, self.n)

    @torch.no_grad()
    def note(self, rows: Ints, tokens: Ints, logprobs: Floats, rules: Ints, kl_coef: float) -> Floats:
        """Return the reference's log-probabilities of the tokens."""
        if not len(rows):  # NEXT_STEP: all slots may be restarting
            return np.empty(0)
        upload = PackedUpload(self.lm.device)
        chosen, masks = upload.add(tokens), upload.add(rules)
        hidden = self.memory.catch_up(rows, self.texts, self.lengths, upload)
        reference = token_logprobs(self.lm, hidden, upload[chosen], self._allowed(upload[masks]))
        found: Floats = reference.cpu().double().numpy()
        _check_finite(self.lm, found, tokens)
        return found


_Noted = tuple[int, int, float, int, float]  # a token's position, id, log-probability, row of masks and β
_Pending = tuple[Ints, list[_Noted]]  # a text up to the last token noted, and the tokens whose penalties are pending


class DeferredKLPenalty(KLPenalty):
    """`kl_penalty="deferred"`: penalties stay pending until `settle()`, or without such calls until the text's end."""

    def __init__(self, lm: CausalLM, texts: Ints, lengths: Ints, rules: Rules) -> None:
        super().__init__(lm, texts, lengths, rules)
        self.forget()

    def forget(self) -> None:
        """All slots start over: drop what is pending, and expect no `settle()`."""
        self.caller_settles = False
        self._running: list[list[_Noted]] = [[] for _ in range(self.n)]
        self._ended: list[list[_Pending]] = [[] for _ in range(self.n)]

    def leave(self, rows: Ints) -> None:
        """The texts in these rows are replaced: if the caller settles, those cut short stay pending."""
        for row in rows.tolist():
            if self.caller_settles and self._running[row]:  # cut short by a TimeLimit wrapper or a reset
                self._ended[row].append(self._take(row))
            self._running[row] = []

    def note(self, rows: Ints, tokens: Ints, logprobs: Floats, rules: Ints, kl_coef: float) -> None:
        """Note the tokens; their penalties are pending."""
        columns = (rows, self.lengths[rows], tokens, logprobs, rules)
        for row, position, token, logprob, rule in zip(*(column.tolist() for column in columns), strict=True):
            self._running[row].append((position, token, logprob, rule, kl_coef))

    def close(self, rows: Ints) -> list[tuple[Floats, Floats]] | None:
        """Texts have ended: return their penalties and KL, unless the caller settles."""
        if not self.caller_settles:
            return self._penalties([self._take(row) for row in rows.tolist()])
        self.leave(rows)
        return None

    def settle(self) -> list[Floats]:
        """Compute and return the pending KL penalties of each slot; from now on the caller is expected to settle."""
        self.caller_settles = True
        self.leave(np.arange(self.n))  # what is written so far
        due, self._ended = self._ended, [[] for _ in range(self.n)]
        found = iter(self._penalties([pending for slot in due for pending in slot]))
        slots = [[(np.empty(0), np.empty(0)), *(next(found) for _ in slot)] for slot in due]
        self._settled_kl = [np.concatenate([kl for _, kl in slot]) for slot in slots]
        return [np.concatenate([penalties for penalties, _ in slot]) for slot in slots]

    def _take(self, row: int) -> _Pending:
        noted, self._running[row] = self._running[row], []
        return self.texts[row, : self.lengths[row]].copy(), noted

    def _penalties(self, every: Sequence[_Pending]) -> list[tuple[Floats, Floats]]:  # penalties, KL
        columns = [[np.array(column) for column in zip(*noted, strict=True)] for _, noted in every]
        choices = [Choices(text, *own[:2]) for (text, _), own in zip(every, columns, strict=True)]
        rules = np.concatenate([np.empty(0, np.int64), *(own[3] for own in columns)])
        reference = choice_logprobs(self.lm, choices, self._allowed(torch.from_numpy(rules)))
        penalties = []
        for (_, tokens, logprobs, _, kl_coefs), found in zip(columns, reference, strict=True):
            _check_finite(self.lm, found, tokens)
            kl = logprobs - found
            penalties.append((-kl_coefs * kl, kl))
        return penalties


def _check_finite(lm: CausalLM, logprobs: Floats, tokens: Ints) -> None:
    if not np.isfinite(logprobs).all():
        i = int(np.flatnonzero(~np.isfinite(logprobs))[0])
        raise FloatingPointError(
            f"the log-probability of token {tokens[i]} under the reference {lm} is {logprobs[i]}: its weights have a "
            "NaN or an infinity"
        )


KL_PENALTIES: dict[str, type[KLPenalty]] = {"token": TokenKLPenalty, "deferred": DeferredKLPenalty, "none": KLPenalty}
