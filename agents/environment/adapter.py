"""The one adapter between an agent and its environments.

Whatever is given (an id, an environment, a vector environment; any autoreset mode), the agent sees a batch of slots
that never stops: each step says which rows were real steps, which episodes ended and how, and which rows start a new
one. What a text environment asks of its agent is here too and nowhere else in `agents`: `policy_logprob` (set before
a step), `reference_model`, and `settle()` (the pending KL penalties).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from ...language.growing_texts import growing_lengths
from .attributes import EnvAttributes
from .episode_info import EpisodeInfo, EpisodeInfoReader
from .masks import Mask, MaskSource, require_an_action
from .spaces import ActionCodec, Array, Leaves, leaf_spaces, leaves_of, stack_leaves
from .vectorize import Vectorized, log

Flags = NDArray[np.bool_]


class EnvError(RuntimeError):
    """An environment did not keep to its interface."""


@dataclass(slots=True)
class StepResult:
    """One step of all slots."""

    observation: Leaves  # to act on next, each leaf (N, ...)
    starts: Flags  # (N,) rows whose observation is an episode's first
    reward: NDArray[np.float64]  # (N,)
    terminated: Flags  # (N,)
    truncated: Flags  # (N,) and not terminated: the learner bootstraps from `final`
    valid: Flags  # (N,) False where the step was spent on a reset (NEXT_STEP)
    kl: NDArray[np.float64] | None  # (N,) log π − log π_ref of the actions, where the environment reports it at once
    episode_info: EpisodeInfo  # what the environment reports of episodes that have ended, by slot
    final: Leaves | None  # the last observations of the truncated rows, in row order


class EnvAdapter:
    """Any environment as a batch of slots with one interface."""

    def __init__(self, made: Vectorized) -> None:
        self.vector_env, self.recipe, self.owned = made.env, made.recipe, made.owned
        self.n_envs = self.vector_env.num_envs
        self.observation_space = self.vector_env.single_observation_space
        self.action_space = self.vector_env.single_action_space
        self.leaf_spaces = leaf_spaces(self.observation_space)
        self.codec = ActionCodec(self.action_space)
        if "autoreset_mode" not in self.vector_env.metadata:
            log.warning("%s does not say its autoreset_mode in its metadata: assuming NEXT_STEP", self.vector_env)
        self.autoreset = AutoresetMode(self.vector_env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._floats = [i for i, leaf in enumerate(self.leaf_spaces) if np.issubdtype(leaf.dtype, np.floating)]
        self._spent = np.zeros(self.n_envs, bool)  # NEXT_STEP: rows whose next step is a reset
        self.masks: Mask | None = None
        attributes = self._attributes = EnvAttributes(self.vector_env)
        choices = self.codec.choices
        self._mask_source = MaskSource(attributes, self.n_envs, sum(choices)) if choices else None
        self.wants_logprobs = attributes.has("policy_logprob")
        self.settles = attributes.has("settle")
        self._reports_settled_kl = attributes.has("settled_kl")
        self._episode_info = EpisodeInfoReader()
        self.reference_model: Any = attributes.get("reference_model") if attributes.has("reference_model") else None
        self.horizon = 2 * (made.max_episode_steps or 0)  # steps in which two episodes fit, if known
        self._stateful = attributes.has("get_state") and attributes.has("set_state")
        # Only of the environment itself: a wrapper may keep what it sees.
        bare = attributes.native and self.vector_env is attributes.base
        self._can_share = bare and attributes.has("copies_observations")
        self._shares = False

    def share_observations(self, wanted: bool) -> None:
        """Whether to take observations that are not copied, where the environment has such (`language.growing_texts`).

        Whoever wants them keeps none beyond the next step.
        """
        self._shares = wanted and self._can_share

    @contextlib.contextmanager
    def _sharing(self) -> Iterator[None]:
        """Let the environment copy nothing while the block runs; others who step it get copies."""
        if not self._shares:
            yield
            return
        before, self._attributes.base.copies_observations = self._attributes.base.copies_observations, False
        try:
            yield
        finally:
            self._attributes.base.copies_observations = before

    def reset(self, seed: int | None = None, state: list[Any] | None = None) -> Leaves:
        """Begin an episode in every slot; `state` (from `get_state`) is put back after seeding."""
        with self._sharing():
            observation, info = self.vector_env.reset(seed=seed)
            if state is not None and self._stateful and self._attributes.call_each("set_state", state):
                observation, info = self.vector_env.reset()
        self._spent[:] = False
        self._read_masks(info)
        self._check_masks()
        return self._leaves(observation)

    def step(self, actions: Array, logprobs: Array | None = None) -> StepResult:
        """Take the policy's actions (N, ...); their log-probabilities are passed on to environments that want them."""
        if self.wants_logprobs and logprobs is not None:
            self._attributes.set("policy_logprob", logprobs)
        with self._sharing():
            observation, reward, terminated, truncated, info = self.vector_env.step(self.codec.to_env(actions))
        reward = np.asarray(reward, np.float64)
        if not np.isfinite(reward).all():
            raise EnvError(_not_finite("reward", np.flatnonzero(~np.isfinite(reward))))
        leaves = self._leaves(observation)
        valid, ended = ~self._spent, terminated | truncated
        same_step = self.autoreset is AutoresetMode.SAME_STEP
        episode_info = self._episode_info.read(info, ended, valid & ~ended, same_step=same_step)
        kl = self._kl(info, logprobs, valid) if logprobs is not None else None
        truncated = truncated & ~terminated
        final: Leaves | None = None
        if truncated.any():
            final = self._final(leaves, info, truncated)
        self._read_masks(info)
        starts = ended
        if self.autoreset is AutoresetMode.NEXT_STEP:
            starts, self._spent = self._spent, ended
        elif self.autoreset is AutoresetMode.DISABLED and ended.any():
            with self._sharing():
                observation, info = self.vector_env.reset(options={"reset_mask": ended})
            leaves = self._leaves(observation)
            self._read_masks(info, ended)
        self._check_masks()
        return StepResult(leaves, starts, reward, terminated, truncated, valid, kl, episode_info, final)

    def announce_settling(self) -> None:
        """Take over the deferred KL penalties: from now on `settle` collects them, and no reward includes them."""
        if self.settles:
            self._attributes.call("settle")

    def settle(self, counts: NDArray[np.int64]) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]] | None]:
        """The pending KL penalties by slot, to be added to its rewards in order: none, or `counts` of them.

        And the KL of each of those tokens, where the environment reports it.
        """
        penalties = [np.asarray(slot, np.float64).reshape(-1) for slot in self._attributes.call("settle")]
        for row, (slot, due) in enumerate(zip(penalties, counts, strict=True)):
            if len(slot) not in (0, due):
                raise EnvError(
                    f"settle() returned {len(slot)} penalties for slot {row}: expected {due}, one for each step "
                    "since it was last called, in order, or none if no penalty is pending"
                )
        if not self._reports_settled_kl:
            return penalties, None
        return penalties, [np.asarray(slot, np.float64).reshape(-1) for slot in self._attributes.call("settled_kl")]

    @property
    def is_text(self) -> bool:
        """Whether episodes are texts: there is a reference model to start from."""
        return self.reference_model is not None

    @property
    def kl_coef(self) -> float:
        """β, the weight of the KL penalty."""
        return float(self._attributes.get("kl_coef"))

    @kl_coef.setter
    def kl_coef(self, value: float) -> None:
        self._attributes.set("kl_coef", value if self._attributes.native else [value] * self.n_envs)

    @property
    def has_kl_penalty(self) -> bool:
        """Whether the environment has a KL penalty."""
        return self._attributes.has("kl_coef")

    def get_state(self) -> list[Any] | None:
        """The slots' prompt positions and random states, if the environment offers them."""
        if not self._stateful:
            return None
        try:
            state: list[Any] = json.loads(json.dumps(list(self._attributes.call("get_state"))))
        except TypeError as error:
            raise EnvError(f"get_state() must return plain JSON, so that a checkpoint can keep it: {error}") from None
        return state

    @property
    def step_info_names(self) -> list[str]:
        """Names in infos that were seen on steps within an episode, so that they describe steps, not episodes."""
        return sorted(self._episode_info.of_steps)

    @step_info_names.setter
    def step_info_names(self, names: list[str]) -> None:
        self._episode_info.of_steps.update(names)

    def close(self) -> None:
        """Close the environments, if they were made here."""
        if self.owned:
            self.vector_env.close()

    def _leaves(self, observation: Any) -> Leaves:
        if self._shares and growing_lengths(observation) is not None:
            return (observation,)
        leaves = tuple(leaf.copy() for leaf in leaves_of(self.observation_space, observation))
        self._check(leaves, np.arange(len(leaves[0])))
        return leaves

    def _final(self, leaves: Leaves, info: dict[str, Any], rows: Flags) -> Leaves:
        if self.autoreset is not AutoresetMode.SAME_STEP:
            return tuple(leaf[rows] for leaf in leaves)
        final = info["final_obs"]
        if isinstance(final, dict | tuple):  # a native batch may keep its final observations batched
            last = tuple(leaf[rows] for leaf in leaves_of(self.observation_space, final))
        else:
            last = stack_leaves([leaves_of(self.observation_space, observation) for observation in final[rows]])
        self._check(last, np.flatnonzero(rows))
        return last

    def _check(self, leaves: Leaves, slots: NDArray[np.int64]) -> None:
        for i in self._floats:
            finite = np.isfinite(leaves[i])
            if not finite.all():
                broken = ~finite.reshape(len(slots), -1).all(1)
                raise EnvError(_not_finite("observation", slots[broken]))

    def _kl(self, info: dict[str, Any], logprobs: Array, valid: Flags) -> NDArray[np.float64] | None:
        """log π − log π_ref of the actions just taken, from `ref_logprob`, wherever the autoreset mode puts it."""
        reference, said = np.zeros(self.n_envs), np.zeros(self.n_envs, bool)
        for source in (info, info.get("final_info", {})):
            if "ref_logprob" in source:
                has = np.broadcast_to(source.get("_ref_logprob", True), self.n_envs)
                reference[has], said = np.asarray(source["ref_logprob"], np.float64)[has], said | has
        return np.where(said, logprobs - reference, 0.0) if said.any() or not valid.any() else None

    def _read_masks(self, info: dict[str, Any], rows: Flags | None = None) -> None:
        if self._mask_source is None:
            return
        self.masks = self._mask_source.read(info, rows)

    def _check_masks(self) -> None:
        if self.masks is not None:
            self.masks[self._spent] = True  # no action is taken there
            require_an_action(self.masks)


def _not_finite(what: str, slots: NDArray[np.int64]) -> str:
    return (
        f"the environment returned a NaN or infinite {what} in slot {int(slots[0])}: every {what} must be a finite "
        "number; training stopped before learning from it. Find the step with gymnasium.utils.env_checker"
    )
