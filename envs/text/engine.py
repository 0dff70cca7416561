"""The engine of text environments: N texts, one token each per step. The single environment is the case N = 1.

begin    put the slot's next prompt into its row of `tokens` (N, context)
step     note the KL penalty of each action, append it, see which texts have ended, and pay scores
settle   pay the scores and KL penalties that are pending, if the caller asks for them
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium.utils import seeding
from numpy.typing import NDArray

from ...language import CausalLM, Conversation, load
from ...language.causal_lm import pick_device
from ...records.jsonl import shortened
from .action_masks import ANY, Rules
from .credit import Credit, Ending, Span
from .kl_penalty import KL_PENALTIES
from .options import Feedback, TextOptions
from .prompt_order import PromptOrder
from .prompts import load_split
from .reward_checks import check_credit, check_reward_models
from .scoring import Scorer
from .task import Prompt
from .tasks import make_task
from .turns import Turns

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

TRUNCATED = ("context", "time_limit")  # finish reasons of texts that are not scored
WIDEST = 512  # the widest default context
_PROCESS = os.getpid()  # the one that imported torch


@dataclass
class Outcome:
    """The result of one step of some rows."""

    rows: Ints  # (R,)
    rewards: Floats  # (R,)
    terminated: Flags  # (R,)
    truncated: Flags  # (R,)
    ref_logprobs: Floats | None  # (R,)
    infos: dict[int, dict[str, Any]]  # by row, where there is more to report


class TextEngine:
    """N texts with their prompts, their reward and their KL penalty."""

    def __init__(self, n: int, options: TextOptions, feedback: Feedback) -> None:
        if os.getpid() != _PROCESS:  # forked: torch's other threads are not there, and it would wait for them
            torch.set_num_threads(1)
        self.n, self.options = n, options
        self.task = make_task(options.task, options.prompts is not None)
        model = self.task.model if options.model is None else options.model
        if not model:
            raise ValueError(
                "model is missing: prompts without a task need one; pass a path, a hub id or a "
                "textrlhf.language.CausalLM"
            )
        self.lm = load(model, options.device).frozen()
        if options.device != "auto" and pick_device(options.device) != self.lm.device:
            raise ValueError(
                f"device is {options.device!r}, but the model {self.lm} is on {self.lm.device}: move it first"
            )
        self.kl_coef = float(options.kl_coef)
        self.scorer = Scorer(options.reward_model, self.task, options.device)
        if options.credit == "token":
            self.scorer.check_partial()
            check_credit(self.scorer.reward_function)
        self.budget = options.max_new_tokens or self.task.max_new_tokens
        self.context = _context(self.lm, options.context, self.budget)
        self.turns = Turns(n, self.task, options.turns, feedback)
        if options.feedback is not None and not self.turns.many:
            raise ValueError(
                f"feedback rewards the turns of a dialogue; the task {self.task.name!r} has one: leave it out"
            )
        if options.min_new_tokens > self.budget:
            raise ValueError(
                f"min_new_tokens is {options.min_new_tokens}, above max_new_tokens ({self.budget}): no text could end"
            )
        measured = self.scorer.uses_gold or self.turns.many
        room, dialogue = self.context - self.budget, self.turns.many
        self.prompts = load_split(self.task, self.lm, options, measured, room, dialogue=dialogue)
        check_reward_models(self.scorer.reward_function, self.lm, self.prompts, self.budget)
        if (
            options.credit == "token"
            and self.turns.many
            and any(isinstance(record.text, Conversation) for record in self.prompts.records)
        ):
            raise ValueError(
                'credit is "token" in a dialogue through a chat template, whose beginnings no reward model can score: '
                'leave credit at "end", or reward the turns by feedback'
            )
        self.rules = Rules(self.lm.vocab_size, self.lm.eos_ids, options.allowed_tokens, options.min_new_tokens)
        self._eos = np.array(self.lm.eos_ids)
        self.tokens: Ints = np.full((n, self.context), -1, np.int64)
        self.lengths: Ints = np.zeros(n, np.int64)
        self.prompt_lengths: Ints = np.zeros(n, np.int64)
        self.taken: Ints = np.zeros(n, np.int64)  # tokens of the budget that are used
        self.forbidden: Ints = np.zeros(n, np.int64)  # of these, the masked ones, which were not written
        self.kl: Floats = np.zeros(n)
        self.turn_rewards: Floats = np.zeros(n)  # summed over the turns so far
        self.token_kl: Floats = np.full((n, self.budget), np.nan)  # NaN where it is not known
        self.places: Ints = np.zeros((n, self.budget), np.int64)  # the position of each token in the context
        self.prompt_numbers = [0] * n
        self.records: list[Prompt] = [Prompt("")] * n
        self.orders = [PromptOrder(len(self.prompts)) for _ in range(n)]
        self.rngs = [np.random.default_rng(0)] * n
        self.seeds: list[int | None] = [None] * n
        self.kl_penalty = KL_PENALTIES[options.kl_penalty](self.lm, self.tokens, self.lengths, self.rules)
        self.credit = Credit(n, self.scorer, options.credit == "token", self._read)
        self.settled_info: list[dict[int, dict[str, Any]]] = [{} for _ in range(n)]

    def seed(self, rows: Ints, seeds: Sequence[int | None]) -> None:
        """Put each of `rows` into the state of a single environment with its seed; all rows: start over."""
        for row in rows.tolist():
            self.rngs[row], self.seeds[row] = seeding.np_random(seeds[row])
            self.orders[row] = PromptOrder(len(self.prompts))
        if len(rows) == self.n:
            self.stop_settling()

    def begin(self, rows: Ints, prompts: Sequence[int] | None = None) -> None:
        """Put the next prompt into each of these rows, or those numbered in `prompts`."""
        self.kl_penalty.leave(rows)
        for i, row in enumerate(rows.tolist()):
            self.credit.begin(row)
            index = self.orders[row].next(self.rngs[row]) if prompts is None else prompts[i]
            prompt = self.prompts.tokens[index]
            self.prompt_numbers[row], self.records[row] = index, self.prompts.records[index]
            self.tokens[row] = -1
            self.tokens[row, : len(prompt)] = prompt
            self.lengths[row] = self.prompt_lengths[row] = len(prompt)
            self.turns.begin(row, len(prompt), first=True)
        self.taken[rows] = self.forbidden[rows] = 0
        self.kl[rows] = self.turn_rewards[rows] = 0
        self.token_kl[rows] = np.nan

    def step(self, rows: Ints, actions: Ints, logprobs: Floats) -> Outcome:
        """Append one token in each of `rows`; `logprobs` are the agent's, 0 where it set none."""
        rules = self.rules.at(self.taken[rows])
        obeyed = self.rules.table[rules, actions]
        rules = np.where(obeyed, rules, ANY)
        ref_logprobs = self.kl_penalty.note(rows, actions, logprobs, rules, self.kl_coef)
        rewards = np.zeros(len(rows))
        if ref_logprobs is not None:
            kl = logprobs - ref_logprobs
            rewards -= self.kl_coef * kl
            self.kl[rows] += kl
            self.token_kl[rows, self.taken[rows]] = kl
        self.places[rows, self.taken[rows]] = np.where(obeyed, self.lengths[rows], self.context)
        written = rows[obeyed]
        self.tokens[written, self.lengths[written]] = actions[obeyed]
        self.lengths[written] += 1
        self.taken[rows] += 1
        self.forbidden[rows] += ~obeyed
        outcome = Outcome(rows, rewards, np.zeros(len(rows), bool), np.zeros(len(rows), bool), ref_logprobs, {})
        eos = obeyed & np.isin(actions, self._eos)  # the end of a text, or in a dialogue of a turn
        limit = self.options.max_episode_steps or self.budget
        used = self.taken[rows] >= min(limit, self.budget)
        endings = self._end(rows, eos, outcome) if (eos | used).any() else {}
        for i, span in self.credit.step(rows, self.lengths[rows], endings):
            rewards[i] += span.rewards.sum()
            info = outcome.infos.setdefault(int(rows[i]), {})
            first = {name: info[name] for name in ("prompt", "response") if name in info}
            outcome.infos[int(rows[i])] = first | span.info | info  # in the order in which they are shown
        return outcome

    def settle(self) -> list[Floats]:
        """Compute and return what is pending for the steps of each slot, in order: shares of scores, KL penalties."""
        settled_before = self.credit.caller_settles
        spans = self.credit.settle()
        penalties, kl = self.kl_penalty.settle(), self.kl_penalty.settled_kl()
        if not settled_before:  # scores are in the rewards, and these penalties are of the current texts
            for progress, own in zip(self.credit.progress, kl, strict=True):
                progress.kl += float(own.sum())
            self.settled_info = [{} for _ in range(self.n)]
            return penalties
        self.settled_info = [_late_info(slot, own) for slot, own in zip(spans, kl, strict=True)]
        rewards = [np.concatenate([np.empty(0), *(span.rewards for span in slot)]) for slot in spans]
        return [scores + own if len(own) else scores for scores, own in zip(rewards, penalties, strict=True)]

    def stop_settling(self) -> None:
        """Drop what is pending, and expect no `settle()`."""
        self.kl_penalty.forget()
        self.credit.forget()

    def _end(self, rows: Ints, eos: Flags, outcome: Outcome) -> dict[int, Ending]:
        """End turns, terminate or truncate the texts that are over, and return how they ended, by row."""
        reasons = np.full(len(rows), "", object)
        if self.options.max_episode_steps is not None:
            reasons[self.taken[rows] >= self.options.max_episode_steps] = "time_limit"
        reasons[self.taken[rows] >= self.budget] = "length"
        for i in np.flatnonzero(eos):
            reasons[i] = self._end_turn(int(rows[i]), reasons[i], outcome, int(i)) if self.turns.many else "eos"
        ended = np.flatnonzero(reasons)
        unscored = (*TRUNCATED, "length") if self.options.on_length == "truncate" else TRUNCATED
        outcome.truncated = np.isin(reasons, unscored)
        outcome.terminated = (reasons != "") & ~outcome.truncated
        if self.options.max_episode_steps is not None:  # may be both, as with TimeLimit
            outcome.truncated |= self.taken[rows] >= self.options.max_episode_steps
        return self._finish(rows, ended, reasons, outcome) if len(ended) else {}

    def _end_turn(self, row: int, reason: str, outcome: Outcome, i: int) -> str:
        """Reward the turn that has just ended and append the user's reply; or return why the text is over."""
        record, length = self.records[row], int(self.lengths[row])
        feedback = self.turns.end(row, record, self.lm, self.tokens[row, :length])
        if feedback is not None:
            outcome.rewards[i] += feedback
            self.turn_rewards[row] += feedback
            outcome.infos.setdefault(row, {})["feedback"] = feedback
        if self.turns.is_over(row, record):
            return "eos"
        if reason:
            return reason
        reply = self.turns.reply(row, record, self.lm, self.rngs[row])
        end = length + len(reply)
        if end + self.budget - int(self.taken[row]) > self.context:
            return "context"
        self.tokens[row, length:end] = reply
        self.lengths[row] = end
        self.turns.begin(row, end)
        return ""

    def _finish(self, rows: Ints, ended: Ints, reasons: NDArray[np.object_], outcome: Outcome) -> dict[int, Ending]:
        """Add pending KL penalties of the texts that are over, and report all but their scores."""
        pending = self.kl_penalty.close(rows[ended])
        endings = {}
        for k, i in enumerate(ended.tolist()):
            row, scored = int(rows[i]), bool(outcome.terminated[i])
            info = outcome.infos.setdefault(row, {})
            info.update(prompt=self.records[row].text, response=self._response(row))
            feedback = float(self.turn_rewards[row]) if self.turns.many else None
            penalty = self.options.missing_eos_penalty if reasons[i] == "length" else 0.0
            endings[row] = Ending(scored, penalty, feedback)
            if feedback is not None and not scored:
                info["score"] = feedback
            if outcome.ref_logprobs is not None:
                info["kl"] = float(self.kl[row])
            elif pending is not None:
                penalties, kl = pending[k]
                outcome.rewards[i] += penalties.sum()
                self.token_kl[row, : len(kl)] = kl
                info["kl"] = float(kl.sum())
            info.update(length=int(self.taken[row]), finish_reason=str(reasons[i]), eos=bool(reasons[i] == "eos"))
            if self.rules.active:
                info["forbidden"] = int(self.forbidden[row])
        return endings

    def _response(self, row: int) -> str:
        prompt, end = int(self.prompt_lengths[row]), int(self.lengths[row])
        if self.turns.many and isinstance(self.records[row].text, Conversation):
            return self.turns.response(row, self.lm, self.tokens[row, :end], prompt)
        before, after = self.tokens[row, :prompt], self.tokens[row, prompt:end]
        return self.lm.continuation(before, after, self.prompts.text(self.lm, self.prompt_numbers[row]))

    def _read(self, row: int, lengths: Sequence[int]) -> tuple[Prompt, str, list[int]]:
        """A text's prompt and response, and how many characters this has where the text has so many tokens."""
        start, end = int(self.prompt_lengths[row]), int(self.lengths[row])
        before, after = self.tokens[row, :start], self.tokens[row, start:end]
        known = self.prompts.text(self.lm, self.prompt_numbers[row])
        ends = [0, *self.lm.ends(before, after, known).tolist()] if lengths else []
        return self.records[row], self._response(row), [ends[length - start] for length in lengths]

    def shades(self, row: int) -> Floats:  # (context,)
        """Return the KL of each token in the context; NaN where it is not known or not the agent's."""
        shades = np.full(self.context + 1, np.nan)
        shades[self.places[row, : self.taken[row]]] = self.token_kl[row, : self.taken[row]]
        return shades[:-1]

    def get_state(self, row: int) -> dict[str, Any]:
        """Return a slot's position in the prompts and its random state, as plain JSON."""
        return {"order": self.orders[row].state(), "rng": self.rngs[row].bit_generator.state}

    def set_state(self, row: int, state: dict[str, Any]) -> None:
        """Restore what `get_state` returned; the current text is not part of it."""
        rng = np.random.default_rng()
        try:
            order = PromptOrder(**state["order"])
            rng.bit_generator.state = state["rng"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"state is {shortened(state)}, not one of get_state() ({error!r})") from None
        if order.n != len(self.prompts):
            raise ValueError(
                f"state is of an environment with {order.n} prompts, and this one has {len(self.prompts)}: restore it "
                "in an environment with the same prompts"
            )
        self.orders[row], self.rngs[row] = order, rng
        self.seeds[row] = -1  # Gymnasium's value for an unknown seed; None would draw a new one at the next reset


def _late_info(spans: Sequence[Span], kl: Floats) -> dict[int, dict[str, Any]]:
    """What is to be added to the infos of a slot's texts, by the last step of each; `kl` is that of all steps."""
    infos, steps = {}, 0
    for span in spans:
        first, steps = steps, steps + len(span.rewards)
        span.progress.kl += float(kl[first:steps].sum())
        if span.ending is not None or span.info:
            infos[steps - 1] = span.info | ({"kl": span.progress.kl} if span.ending is not None and len(kl) else {})
    return infos


def _context(lm: CausalLM, given: int | None, budget: int) -> int:
    context = given or min(lm.context or WIDEST, WIDEST)
    if lm.context is not None and context > lm.context:
        raise ValueError(f"context is {context}: {lm} has {lm.context} positions, so at most that many tokens fit")
    if budget >= context:
        raise ValueError(
            f"max_new_tokens is {budget}, which leaves no room for a prompt in a context of {context}: lower it, or "
            "raise context" + (f" (the model has {lm.context} positions)" if lm.context else "")
        )
    return context
