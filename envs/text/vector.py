"""Many texts as one native Gymnasium batch with one reference model; a slot that ends begins its next prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ...language.growing_texts import GrowingTexts
from ...records.checks import count
from .actions import checked_actions, checked_logprobs, checked_seeds, prompt_indices
from .base import TextEnvBase
from .engine import Outcome
from .options import TextKeywords, shows_options
from .render import Show

if TYPE_CHECKING:
    from typing import Unpack

Observations = NDArray[np.int64]
Flags = NDArray[np.bool_]


class TextVectorEnv(TextEnvBase, VectorEnv[Observations, NDArray[np.int64], NDArray[Any]]):
    """N texts at once; slot i equals the single environment seeded `seed + i`. For all else see `help(TextEnv)`."""

    @shows_options
    def __init__(
        self,
        num_envs: int = 1,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        **options: Unpack[TextKeywords],
    ) -> None:
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode is {render_mode!r}: expected None or 'ansi' for a batch")
        self.num_envs, self.render_mode = count("num_envs", num_envs), render_mode
        self.copies_observations = True  # False: one read-only array, which every step changes
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": ["ansi"], "render_fps": 30, "autoreset_mode": self.autoreset_mode}
        self._open(num_envs, options)
        self.single_observation_space = spaces.Box(-1, self.engine.lm.vocab_size - 1, (self.engine.context,), np.int64)
        self.single_action_space = spaces.Discrete(self.engine.lm.vocab_size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._shows = [Show() for _ in range(num_envs)]
        self._begun = False
        self._ended: Flags = np.zeros(num_envs, bool)  # slots whose text is over and whose next one has not begun

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin a text in every slot, or where `options["reset_mask"]` is True; `options["prompt"]` chooses prompts."""
        rows = self._rows(options)
        seeds = checked_seeds(seed, self.num_envs)
        unseeded = rows if seeds else np.array([row for row in rows if self.engine.seeds[row] is None], np.int64)
        if len(unseeded):
            self.engine.seed(unseeded, seeds or [None] * self.num_envs)
            self._np_random, self._np_random_seed = self.engine.rngs[0], self.engine.seeds[0]
        self.policy_logprob = None
        info = self._begin(rows, prompt_indices(options, len(rows), len(self.engine.prompts)), {})
        self._begun = True
        self._add_masks(info, np.isin(np.arange(self.num_envs), rows))
        return self._observation(), info

    def step(self, actions: Any) -> tuple[Observations, NDArray[np.float64], Flags, Flags, dict[str, Any]]:
        """Append one token in every slot."""
        self._require_running()
        n = self.num_envs
        restarted, live = np.flatnonzero(self._ended), np.flatnonzero(~self._ended)  # restarted ones: NEXT_STEP only
        tokens = checked_actions(np.asarray(actions), n, self.engine.lm.vocab_size, ignore=self._ended)
        given, self.policy_logprob = self.policy_logprob, None
        logprobs = checked_logprobs(given, n, ignore=self._ended)
        self._begun = False  # if the reward model raises, these texts are over
        outcome = self.engine.step(live, tokens[live], logprobs[live])
        self._begun = True
        rewards, terminated, truncated = np.zeros(n), np.zeros(n, bool), np.zeros(n, bool)
        rewards[live], terminated[live], truncated[live] = outcome.rewards, outcome.terminated, outcome.truncated
        self._ended = terminated | truncated
        if self.render_mode is not None:
            for row in live.tolist():
                self._shows[row].note(outcome.infos.get(row, {}))
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            info = self._info(live[~self._ended], outcome)
            if self._ended.any():
                ended = np.flatnonzero(self._ended)
                info["final_obs"] = np.full(n, None, object)
                for row in ended.tolist():
                    info["final_obs"][row] = self.engine.tokens[row].copy()
                info["final_info"] = self._info(ended, outcome)
                info["_final_obs"], info["_final_info"] = self._ended.copy(), self._ended.copy()
                info = self._begin(ended, None, info)
        else:
            info = self._info(live, outcome)
            if len(restarted):
                info = self._begin(restarted, None, info)
        self._add_masks(info, ~self._ended)
        return self._observation(), rewards, terminated, truncated, info

    def _observation(self) -> Observations:
        tokens = self.engine.tokens
        return tokens.copy() if self.copies_observations else GrowingTexts.of(tokens, self.engine.lengths)

    def settle(self) -> list[NDArray[np.float64]]:
        """Compute and return what is pending of each step's reward, in order, one array per slot."""
        return self.engine.settle()

    def settled_info(self) -> list[dict[int, dict[str, Any]]]:
        """Return what the last `settle()` adds to the infos, per slot by each text's last step."""
        return self.engine.settled_info

    def settled_kl(self) -> list[NDArray[np.float64]]:
        """Return log π − log π_ref of the tokens of the last `settle()` in order, one array per slot."""
        return self.engine.kl_penalty.settled_kl()

    def get_state(self) -> list[dict[str, Any]]:
        """Return each slot's position in the prompts and random state, as plain JSON."""
        return [self.engine.get_state(row) for row in range(self.num_envs)]

    def set_state(self, state: Sequence[dict[str, Any]]) -> None:
        """Restore what `get_state` returned; it takes effect at the next reset."""
        if len(state) != self.num_envs:
            raise ValueError(f"state has {len(state)} entries: expected {self.num_envs}, one an environment")
        for row, slot in enumerate(state):
            self.engine.set_state(row, slot)
        self._np_random = self.engine.rngs[0]

    def render(self) -> tuple[Any, ...] | None:
        """Return the texts so far, each token coloured by its KL."""
        if self.render_mode is None:
            return None
        return tuple(show.whole(self.engine, row) for row, show in enumerate(self._shows))

    def _require_running(self) -> None:
        if not self._begun:
            raise ResetNeeded("step() before reset(): call reset() first")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            raise ResetNeeded(
                f"the text of environment {int(np.flatnonzero(self._ended)[0])} is over, and autoreset is disabled: "
                'call reset(options={"reset_mask": mask}) with the ended environments first'
            )

    def _rows(self, options: dict[str, Any] | None) -> NDArray[np.int64]:
        """The slots to reset; the mask is not changed, as the caller may use it again."""
        mask = (options or {}).get("reset_mask")
        if mask is None:
            return np.arange(self.num_envs)
        if not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != bool or not mask.any():
            raise ValueError(f"options['reset_mask'] is {mask!r}: expected a bool array ({self.num_envs},) with a True")
        if not self._begun and not mask.all():
            raise ResetNeeded("the first reset() must begin every environment: leave out options['reset_mask']")
        return np.flatnonzero(mask)

    def _begin(self, rows: NDArray[np.int64], prompts: list[int] | None, info: dict[str, Any]) -> dict[str, Any]:
        """Begin texts in `rows` and add their prompts to `info`."""
        self.engine.begin(rows, prompts)
        self._ended[rows] = False
        for row in rows.tolist():
            self._shows[row].begin(self.engine, row)
            info = self._add_info(info, {"prompt": self.engine.records[row].text}, row)
        return info

    def _info(self, rows: NDArray[np.int64], outcome: Outcome) -> dict[str, Any]:
        """What a step reported of these rows, in Gymnasium's form: arrays, each with a mask of its entries."""
        info: dict[str, Any] = {}
        if outcome.ref_logprobs is not None and len(rows):
            array, has = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
            array[outcome.rows] = outcome.ref_logprobs
            has[rows] = True
            array[~has] = 0
            info["ref_logprob"], info["_ref_logprob"] = array, has
        for row in rows.tolist():
            if row in outcome.infos:
                info = self._add_info(info, outcome.infos[row], row)
        return info

    def _add_masks(self, info: dict[str, Any], rows: Flags) -> None:
        if self.engine.rules.active and rows.any():
            masks = self._action_masks().astype(np.int8)
            masks[~rows] = 0
            info["action_mask"], info["_action_mask"] = masks, rows
