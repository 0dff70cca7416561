"""One text as a Gymnasium environment."""

from __future__ import annotations

import sys
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from ...reward_models.reward_function import on_host
from .actions import checked_actions, checked_logprobs, prompt_indices
from .base import TextEnvBase
from .options import make_options
from .render import Show

Observation = NDArray[np.int64]
ROW = np.zeros(1, np.int64)


class TextEnv(TextEnvBase, gym.Env[Observation, np.int64]):
    """A text that is written token by token, judged at its end, and penalised for leaving its reference model.

    All of it with examples is in docs/envs/text_rlhf.md; this is the short form. `gym.make_vec` gives the native batch.

    ## Description

    The agent goes on with a prompt of a task: a built-in one (`reviews`, `dialogue`, `summarize`, `translate`, `qa`,
    `arithmetic`), a `Task` of your own, or just your `prompts`. `info["prompt"] + info["response"]` is the whole text.

    ## Action Space

    `Discrete(V)`, the next token; V is the width of the model's logits. With `min_new_tokens` or `allowed_tokens`,
    `action_masks()` and `info["action_mask"]` say which tokens may be written. Another one is not written, but uses up
    budget and pays the penalty; `info["forbidden"]` counts them.

    ## Observation Space

    `Box(-1, V - 1, (context,), int64)`: the tokens of the text so far, right-padded with -1, so that
    `observation >= 0` is the attention mask.

    ## Rewards

    -kl_coef * (log pi(a) - log pi_ref(a)) for each token, and the score on the step that ends the text. In a dialogue
    the user's feedback is paid at the end of each turn.

    `policy_logprob`: set it before `step` to log pi(a), over the allowed tokens where there is a mask. One step uses it
    up. Unannounced it is 0: the agent pays the penalty as one that was certain. `kl_coef` may be set at any time.
    `reference_model` is the frozen model: copy its weights, do not train it.

    With `kl_penalty="deferred"` a step pays the score alone and `settle()` returns the penalties not yet paid. Call it
    once after the first reset to say that somebody settles; else the last reward of a text pays all of them. With
    `kl_penalty="none"` nothing pays the penalty.

    ## Starting State

    The next prompt of the split: every one once, in an order drawn from the seed, before any comes again.
    `reset(options={"prompt": i})` begins the i-th. `get_state()` and `set_state()` hold the way through the prompts.

    ## Episode End

    Terminated at an end of text ("eos"; in a dialogue at that of the last turn), or with the budget used up ("length"),
    the text being scored as it stands. Truncated, and not scored, with `on_length="truncate"` at the end of the budget,
    and where the user's reply no longer fits ("context").

    ## Information

    At a reset `prompt`. Per step `ref_logprob` (with `kl_penalty="token"`), `action_mask` where there is one,
    `feedback` at a turn's end. At the end `prompt`, `response`, `score`, `kl`, `length`, `finish_reason`, `eos`, with
    a mask `forbidden`, the task's measures (such as `gold`, the true score, whoever reward models) and the parts of a
    `Composite` by name. Not scored: no score, no measures.

    ## Arguments

    `task`, `model`, `reward_model`, `prompts`, `split`: what to write about, the reference, the reward model. Prompts
    of your own without a `task` need `model` and `reward_model`.
    `reward_model`: a callable `(prompts, responses) -> scores`, a `Composite`, the name of a saved reward model (a
    run, a folder, a hub id, a shipped one), or "gold", the task's true score. Left out, `reviews` has the learned
    reward model that ships, "reviews", and the other tasks have "gold".
    `max_new_tokens` (the task's), `min_new_tokens` (0), `allowed_tokens`, `context` (the model's, at most 512),
    `prompt_overflow` ("error", "drop", "truncate"): how long, and of what.
    `kl_coef` (0.05), `kl_penalty` ("token", "deferred", "none"), `on_length` ("score", "truncate"),
    `missing_eos_penalty` (0.0): what is paid.
    `turns`, `feedback`: of a dialogue. `device` ("auto"). `render_mode` (None, "ansi", "human").

    ## Version History

    - v0: the first version.
    """

    metadata = {"render_modes": ["ansi", "human"], "render_fps": 30}

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode is {render_mode!r}: expected None, 'ansi' or 'human'")
        self.render_mode = render_mode
        self._open(1, make_options(options))
        self.observation_space = spaces.Box(-1, self.engine.lm.vocab_size - 1, (self.engine.context,), np.int64)
        self.action_space: spaces.Discrete = spaces.Discrete(self.engine.lm.vocab_size)
        self._show = Show()
        self._running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin the next prompt; `options={"prompt": i}` begins the i-th of the split."""
        super().reset(seed=seed)
        if seed is not None or self.engine.seeds[0] is None:
            self.engine.seed(ROW, [seed])
            self._np_random, self._np_random_seed = self.engine.rngs[0], self.engine.seeds[0]
        self.engine.begin(ROW, prompt_indices(options, 1, len(self.engine.prompts)))
        self._running, self.policy_logprob = True, None
        prompt = self._show.begin(self.engine, 0)
        if self.render_mode == "human":
            self._print(prompt)
        return self.engine.observation()[0], {"prompt": self.engine.records[0].text, **self._mask()}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Write one token."""
        if not self._running:
            raise ResetNeeded("step() before reset(), or after the text's end: call reset() first")
        actions = checked_actions(np.asarray(action).reshape(-1), 1, self.engine.lm.vocab_size)
        logprob, self.policy_logprob = self.policy_logprob, None
        logprobs = checked_logprobs(None if logprob is None else np.reshape(on_host(logprob), -1), 1)
        self._running = False  # should the reward model fail, this text is over
        outcome = self.engine.step(ROW, actions, logprobs)
        info: dict[str, Any] = {} if outcome.ref_logprobs is None else {"ref_logprob": float(outcome.ref_logprobs[0])}
        info.update(outcome.infos.get(0, {}))
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        self._running = not (terminated or truncated)
        if self._running:
            info.update(self._mask())
        self._show.note(info)
        if self.render_mode == "human":
            self._print(self._show.more(self.engine, 0))
        return self.engine.observation()[0], float(outcome.rewards[0]), terminated, truncated, info

    def _action_masks(self) -> NDArray[np.bool_]:
        """True where a token may be written next."""
        masks: NDArray[np.bool_] = self.engine.masks()[0]
        return masks

    def _mask(self) -> dict[str, Any]:
        return {"action_mask": self._action_masks().astype(np.int8)} if self.engine.rules.active else {}

    def settle(self) -> NDArray[np.float64]:
        """Charge every token not yet penalised; the penalties, already −β·kl, in order. Empty: nothing is owed."""
        return self.engine.kl_penalty.settle()[0]

    def settled_kl(self) -> NDArray[np.float64]:
        """log π − log π_ref of the tokens that the last `settle` penalised, in order."""
        return self.engine.kl_penalty.settled_kl()[0]

    def get_state(self) -> dict[str, Any]:
        """The way through the prompts and the randomness, as plain JSON."""
        return self.engine.get_state(0)

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` gave; it holds from the next reset."""
        self.engine.set_state(0, state)
        self._np_random = self.engine.rngs[0]

    def _print(self, text: str) -> None:
        print(text, end="", flush=True)
        if sys.stdout.isatty():
            time.sleep(1 / self.metadata["render_fps"])

    def render(self) -> str | None:
        """Show the text so far, coloured by what each token was penalised for."""
        if self.render_mode != "ansi":
            return None
        return self._show.whole(self.engine, 0)
