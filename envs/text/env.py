"""One text as a Gymnasium environment."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from ...reward_models.reward_function import on_host
from .actions import checked_actions, checked_logprobs, prompt_indices
from .base import TextEnvBase
from .options import TextKeywords, shows_options
from .render import Show

if TYPE_CHECKING:
    from typing import Unpack

Observation = NDArray[np.int64]
ROW = np.zeros(1, np.int64)


class TextEnv(TextEnvBase, gym.Env[Observation, np.int64]):
    """A text written token by token, scored at its end, with a KL penalty against a reference model.

    docs/envs/text_rlhf.md has all of it with examples; this is the short form. `gym.make_vec` gives the native batch.

    ## Description

    The agent continues a prompt of a task: a built-in one (`reviews`, `dialogue`, `summarize`, `translate`, `qa`,
    `arithmetic`), a `Task` of your own, or just your `prompts`. `info["prompt"] + info["response"]` is the whole text.

    ## Action Space

    `Discrete(V)`, the next token; V is the width of the model's logits. With `min_new_tokens` or `allowed_tokens`,
    `action_masks()` and `info["action_mask"]` are True for the tokens that may be written. A forbidden token is not
    written, but uses up budget and pays the KL penalty; `info["forbidden"]` counts them.

    ## Observation Space

    `Box(-1, V - 1, (context,), int64)`: the tokens of the text so far, right-padded with -1, so that
    `observation >= 0` is the attention mask.

    ## Rewards

    -kl_coef * (log pi(a) - log pi_ref(a)) for each token, plus the score on the step that ends the text. In a dialogue
    the user's feedback is added at the end of each turn.

    Before each `step`, set `policy_logprob` to log pi(a), over the allowed tokens where there is a mask. It serves one
    step. If it is not set it is 0, and the penalty is that of a deterministic policy. `kl_coef` may be set at any time.
    `reference_model` is the frozen model: copy its weights, do not train it.

    With `credit="token"` each step pays the part of the score that its token adds, the last one the rest.

    An agent that collects many steps calls `settle()` once after the first reset to say that it will again: from then
    on scores are asked for then, all at once, and `settle()` returns what is to be added to each step's reward,
    `settled_info()` to the final infos. With `kl_penalty="deferred"` that includes the KL penalties; without such calls
    the last reward of a text includes all of them. With `kl_penalty="none"` there is no penalty.

    ## Starting State

    The next prompt of the split: each comes once, in an order drawn from the seed, before any comes again.
    `reset(options={"prompt": i})` begins the i-th. `get_state()` and `set_state()` hold the position in the prompts.

    ## Episode End

    Terminated at an end of text ("eos"; in a dialogue that of the last turn), or when the budget is used up ("length"),
    and the text is scored as it stands. Truncated, and not scored, at the end of the budget with
    `on_length="truncate"`, and where the user's reply no longer fits ("context").

    ## Information

    At a reset `prompt`. Per step `ref_logprob` (with `kl_penalty="token"`), `action_mask` where there is one,
    `feedback` at a turn's end. At the end `prompt`, `response`, `score`, `kl`, `length`, `finish_reason`, `eos`, with
    a mask `forbidden`, the task's measures (such as `gold`, the true score, whatever the reward model) and the parts of
    a `Composite` by name. A text that is not scored has no score and no measures. With `credit="token"` every step but
    that of the score has `credit`, the part of the score in the rewards so far.

    ## Arguments

    | argument | type | default | meaning |
    | --- | --- | --- | --- |
    | `task` | str, Task | None | built-in task by name, or your own; None: "reviews", or just your `prompts` |
    | `model` | str, CausalLM | None | reference: path, hub id or shipped model; None: the one shipped for the task |
    | `reward_model` | callable, str | None | (prompts, responses) -> scores, a name, "gold", "none"; None: the task's |
    | `prompts` | path, list, dict | None | your rows: a data file, a list, or one of these per split |
    | `chat` | bool | None | by the model's chat template: every prompt, none, or (None) those that are messages |
    | `system_prompt` | str | None | system message of conversations that have none |
    | `split` | str | "train" | which prompts: "train" or "heldout" |
    | `max_new_tokens` | int | None | token budget of a text; None: the task's |
    | `min_new_tokens` | int | 0 | mask the end of text until the text has so many new tokens |
    | `allowed_tokens` | list of int | None | mask all other tokens, but never the end of text |
    | `context` | int | None | width of the observation; None: the model's positions, at most 512 |
    | `kl_coef` | float | 0.05 | coefficient of the KL penalty, at least 0 |
    | `kl_penalty` | str | "token" | when it is paid: "token", "deferred" or "none" |
    | `credit` | str | "end" | the score is paid at the "end", or with each "token" what it adds |
    | `on_length` | str | "score" | at the end of the budget "score" the text, or "truncate" it |
    | `missing_eos_penalty` | float | 0.0 | subtracted from the score of a text that uses up its budget |
    | `prompt_overflow` | str | "error" | prompts too long for the context: "error", "drop" or "truncate" |
    | `turns` | int | None | the agent's turns in a dialogue, at most; None: the task's |
    | `feedback` | callable | None | (prompt, turns) -> float or None, the reward of a turn; None: the task's |
    | `device` | str | "auto" | of models loaded by name; "auto": the GPU where there is one |
    | `max_episode_steps` | int | None | truncate after so many steps; `gym.make` adds a `TimeLimit` instead |
    | `render_mode` | str | None | "ansi" or "human" |

    `gym.make_vec` also takes `num_envs` (1) and `autoreset_mode` ("SameStep").

    ## Version History

    - v0: the first version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi", "human"], "render_fps": 30}  # type: ignore[misc]

    @shows_options
    def __init__(self, render_mode: str | None = None, **options: Unpack[TextKeywords]) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode is {render_mode!r}: expected None, 'ansi' or 'human'")
        self.render_mode = render_mode
        self._open(1, options)
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
        return self.engine.tokens[0].copy(), {"prompt": self.engine.records[0].text, **self._mask()}

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Append one token."""
        if not self._running:
            raise ResetNeeded("step() before reset(), or after the text's end: call reset() first")
        actions = checked_actions(np.asarray(action).reshape(-1), 1, self.engine.lm.vocab_size)
        logprob, self.policy_logprob = self.policy_logprob, None
        logprobs = checked_logprobs(None if logprob is None else np.reshape(on_host(logprob), -1), 1)
        self._running = False  # if the reward model raises, this text is over
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
        return self.engine.tokens[0].copy(), float(outcome.rewards[0]), terminated, truncated, info

    def _action_masks(self) -> Any:  # (V,)
        """True where a token may be written next."""
        return super()._action_masks()[0]

    def _mask(self) -> dict[str, Any]:
        return {"action_mask": self._action_masks().astype(np.int8)} if self.engine.rules.active else {}

    def settle(self) -> NDArray[np.float64]:
        """Compute and return what is pending of each step's reward, in order; empty if nothing is."""
        return self.engine.settle()[0]

    def settled_info(self) -> dict[int, dict[str, Any]]:
        """Return what the last `settle()` adds to the infos, by each text's last step."""
        return self.engine.settled_info[0]

    def settled_kl(self) -> NDArray[np.float64]:
        """Return log π − log π_ref of the tokens of the last `settle()`, in order."""
        return self.engine.kl_penalty.settled_kl()[0]

    def get_state(self) -> dict[str, Any]:
        """Return the position in the prompts and the random state, as plain JSON."""
        return self.engine.get_state(0)

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` returned; it takes effect at the next reset."""
        self.engine.set_state(0, state)
        self._np_random = self.engine.rngs[0]

    def _print(self, text: str) -> None:
        print(text, end="", flush=True)
        if sys.stdout.isatty():
            time.sleep(1 / self.metadata["render_fps"])

    def render(self) -> str | None:
        """Return the text so far, each token coloured by its KL."""
        if self.render_mode != "ansi":
            return None
        return self._show.whole(self.engine, 0)
