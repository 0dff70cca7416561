"""The adapter between an agent and its environments.

Any environment, in any autoreset mode, becomes a batch of slots that never stops: each step reports which rows were
real steps, which episodes ended and how, and which rows start a new one. The interface of text environments is
handled here too: `policy_logprob` (set before a step), `reference_model`, `settle()` (scores and KL penalties that are
known later) and `settled_info()` (what it adds to the infos of episodes).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode

from ...language.growing_texts import growing_lengths
from .attributes import EnvAttributes
from .episode_info import EpisodeInfo, EpisodeInfoReader
from .masks import Mask, MaskSource, require_an_action
from .reward_wrappers import BLIND, changes_rewards, wrappers_of
from .spaces import (
    ActionCodec,
    Array,
    Flags,
    Floats,
    Ints,
    Leaves,
    broken_rows,
    is_image,
    leaf_spaces,
    leaves_of,
    stack_leaves,
)
from .vectorize import Vectorized, log


class EnvError(RuntimeError):
    """An environment violated its interface."""


@dataclass(slots=True)
class StepResult:
    """One step of all slots."""

    observation: Leaves  # to act on next, each leaf (N, ...)
    starts: Flags  # (N,) rows whose observation is an episode's first
    reward: Floats  # (N,)
    terminated: Flags  # (N,)
    truncated: Flags  # (N,) and not terminated: the learner bootstraps from `final`
    valid: Flags  # (N,) False where the step was spent on a reset (NEXT_STEP)
    kl: Floats | None  # (N,) log π − log π_ref of the actions, if the environment reports it with each step
    episode_info: EpisodeInfo  # reported at the end of episodes, by slot
    final: Leaves | None  # final observations of the truncated rows, in row order


@dataclass(slots=True)
class Settled:
    """What is known of a rollout's steps only after it, by slot, in the order of the slot's real steps."""

    rewards: list[Floats]  # to be added to those of the steps
    kl: list[Floats] | None
    infos: list[dict[int, dict[str, Any]]]  # by step: the last of an episode, of a running one the last so far


class EnvAdapter:
    """Any environment as a batch of slots with one interface."""

    def __init__(self, made: Vectorized) -> None:
        self.vector_env, self.recipe, self.owned = made.env, made.recipe, made.owned
        self.again, self.why_no_recipe = made.again, made.why
        self.n_envs = self.vector_env.num_envs
        self.observation_space = self.vector_env.single_observation_space
        self.action_space = self.vector_env.single_action_space
        self.leaf_spaces = leaf_spaces(self.observation_space)
        self.codec = ActionCodec(self.action_space)
        if "autoreset_mode" not in self.vector_env.metadata:
            log.warning("%s does not say its autoreset_mode in its metadata: assuming NEXT_STEP", self.vector_env)
        self.autoreset = AutoresetMode(self.vector_env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        integers = [isinstance(leaf, Box) and np.issubdtype(leaf.dtype, np.integer) for leaf in self.leaf_spaces]
        self._checked = [i for i, sound in enumerate(integers) if not sound]
        self._steps = 0  # since the last reset
        self._began = np.zeros(self.n_envs, np.int64)  # the step after which each slot's episode began
        self._spent = np.zeros(self.n_envs, bool)  # NEXT_STEP: rows whose next step resets them
        self.masks: Mask | None = None
        attributes = self._attributes = EnvAttributes(self.vector_env)
        choices = self.codec.choices
        self._mask_source = MaskSource(attributes, self.n_envs, sum(choices)) if choices else None
        self.wants_logprobs = attributes.has("policy_logprob")
        self.settles = attributes.has("settle")
        self._wrappers_known = False  # to leave rewards alone
        self._reports_settled_kl = attributes.has("settled_kl")
        self._reports_settled_info = attributes.has("settled_info")
        self.reference_model: Any = attributes.get("reference_model") if attributes.has("reference_model") else None
        self.episode_info = EpisodeInfoReader(so_far={"credit"} if self.is_text else ())
        self.horizon = 2 * (made.max_episode_steps or 0)  # enough steps for two episodes; 0 if unknown
        self._stateful = attributes.has("get_state") and attributes.has("set_state")
        self._shares = False

    def share_observations(self, wanted: bool) -> None:
        """Skip copying observations if the environment supports it (`language.growing_texts`).

        They are then valid until the next step only.
        """
        unwrapped = self.vector_env is self._attributes.base  # a wrapper may store observations
        self._shares = wanted and unwrapped and hasattr(self.vector_env, "copies_observations")

    @contextlib.contextmanager
    def _sharing(self) -> Iterator[None]:
        """Skip copies while the block runs; anyone else who steps the environment gets copies."""
        if not self._shares:
            yield
            return
        before, self._attributes.base.copies_observations = self._attributes.base.copies_observations, False
        try:
            yield
        finally:
            self._attributes.base.copies_observations = before

    def reset(self, seed: int | None = None, state: list[Any] | None = None) -> Leaves:
        """Start an episode in every slot; `state` (from `get_state`) is restored after seeding."""
        with self._sharing():
            observation, info = self.vector_env.reset(seed=seed)
            if state is not None and self._stateful and self._attributes.call_each("set_state", state):
                observation, info = self.vector_env.reset()
        self._spent[:] = False
        self._steps, self._began[:] = 0, 0
        self._read_masks(info)
        self._check_masks()
        return self._leaves(observation)

    def step(self, actions: Array, logprobs: Array | None = None) -> StepResult:
        """Step with the policy's actions (N, ...); log-probabilities are passed to environments that use them."""
        if self.wants_logprobs and logprobs is not None:
            self._attributes.set("policy_logprob", logprobs)
        with self._sharing():
            observation, reward, terminated, truncated, info = self.vector_env.step(self.codec.to_env(actions))
        reward, self._steps = np.asarray(reward, np.float64), self._steps + 1
        if not np.isfinite(reward).all():
            slot = int(np.flatnonzero(~np.isfinite(reward))[0])
            raise EnvError(f"{self._place(slot)} has the reward {reward[slot]}: every reward must be finite")
        leaves = self._leaves(observation)
        valid, ended = ~self._spent, terminated | truncated
        same_step = self.autoreset is AutoresetMode.SAME_STEP
        episode_info = self.episode_info.read(info, ended, valid & ~ended, same_step=same_step)
        kl = self._kl(info, logprobs, valid) if logprobs is not None else None
        truncated = truncated & ~terminated
        final = self._final(leaves, info, truncated) if truncated.any() else None
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
        if starts.any():
            self._began[starts] = self._steps
        return StepResult(leaves, starts, reward, terminated, truncated, valid, kl, episode_info, final)

    def announce_settling(self) -> None:
        """Announce that `settle` will collect scores and deferred KL penalties: from now on no reward includes them.

        Not in a wrapper that may change rewards: what is settled later does not pass through it. Where a wrapper may
        look at rewards or infos, scores are paid at once, and only penalties wait.
        """
        if self.settles and not self._wrappers_known:
            self.settles = self._may_settle()
            self._wrappers_known = True
        if self.settles:
            self._attributes.call("settle")

    def stop_settling(self) -> None:
        """Let rewards include everything again, for others who use the environment."""
        if self.settles and self._wrappers_known and self._attributes.has("stop_settling"):
            self._attributes.call("stop_settling")

    def _may_settle(self) -> bool:
        attributes, wrappers = self._attributes, wrappers_of(self.vector_env)
        deferred = not attributes.has("kl_penalty") or attributes.get("kl_penalty") == "deferred"
        name = next((kind.__name__ for kind in wrappers if changes_rewards(kind)), None)
        if name and deferred:
            raise EnvError(
                f"the wrapper {name} may change rewards, and penalties that are settled later do not pass through it: "
                'make the environment with kl_penalty="token", or say changes_rewards = False in the wrapper\'s class'
            )
        watched = any(kind.__name__ not in BLIND for kind in wrappers)
        if watched and attributes.has("pay_scores_at_once"):
            attributes.call("pay_scores_at_once")
        return deferred or not (name or watched)

    def settle(self, counts: Ints) -> Settled:
        """What is pending of each slot's rewards, to be added to them in order: nothing, or of `counts` steps.

        Also the KL of each of those tokens and what is reported late about the episodes, if the environment does.
        """
        rewards = self._per_slot("settle")
        for row, (slot, due) in enumerate(zip(rewards, counts, strict=True)):
            if len(slot) not in (0, due):
                raise EnvError(
                    f"settle() returned {len(slot)} numbers for slot {row}: expected {due}, one for each step "
                    "since it was last called, in order, or none if nothing is pending"
                )
        kl = self._per_slot("settled_kl") if self._reports_settled_kl else None
        infos = list(self._attributes.call("settled_info")) if self._reports_settled_info else [{}] * self.n_envs
        return Settled(rewards, kl, infos)

    def _per_slot(self, method: str) -> list[Floats]:
        return [np.asarray(slot, np.float64).reshape(-1) for slot in self._attributes.call(method)]

    @property
    def is_text(self) -> bool:
        """Whether episodes are texts: the environment has a reference model."""
        return self.reference_model is not None

    @property
    def is_heavy(self) -> bool:
        """Whether the environment asks for a language model or a convolutional network."""
        return self.is_text or any(is_image(leaf) for leaf in self.leaf_spaces)

    @property
    def split(self) -> str | None:
        """Which prompts a text environment uses, if it says so."""
        return str(self._attributes.get("split")) if self._attributes.has("split") else None

    @property
    def kl_coef(self) -> float:
        """β, the coefficient of the KL penalty."""
        return float(self._attributes.get("kl_coef"))

    @kl_coef.setter
    def kl_coef(self, value: float) -> None:
        self._attributes.set("kl_coef", value if self._attributes.native else [value] * self.n_envs)

    @property
    def has_kl_penalty(self) -> bool:
        """Whether the environment has a KL penalty."""
        return self._attributes.has("kl_coef")

    def get_state(self) -> list[Any] | None:
        """The slots' prompt positions and random states, if the environment supports it."""
        if not self._stateful:
            return None
        try:
            state: list[Any] = json.loads(json.dumps(list(self._attributes.call("get_state"))))
        except TypeError as error:
            raise EnvError(f"get_state() must return plain JSON, so that a checkpoint can keep it: {error}") from None
        return state

    @property
    def name(self) -> str:
        """Its id or factory."""
        named = self.recipe or {}
        return str(named.get("id") or named.get("factory") or self.vector_env)

    def steps(self, env: Any) -> bool:
        """Whether stepping `env` would step an environment used here."""
        return not _innermost(self.vector_env).isdisjoint(_innermost(env))

    def close(self) -> None:
        """Close the environments if the agent made them."""
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
        final = info.get("final_obs")
        if isinstance(final, dict | tuple):  # native vector environments may return them as one batch
            last = tuple(leaf[rows] for leaf in leaves_of(self.observation_space, final))
        elif final is None or any(observation is None for observation in final[rows]):
            raise EnvError(
                f"{self._place(int(np.flatnonzero(rows)[0]))} was truncated, but info has no final_obs for it: with "
                "autoreset_mode SAME_STEP that is the last observation of the episode, which the critic evaluates"
            )
        else:
            last = stack_leaves([leaves_of(self.observation_space, observation) for observation in final[rows]])
        self._check(last, np.flatnonzero(rows))
        return last

    def _check(self, leaves: Leaves, slots: Ints) -> None:
        for i in self._checked:
            if (broken := broken_rows(self.leaf_spaces[i], leaves[i])) is not None:
                row = int(np.flatnonzero(broken)[0])
                space = self.leaf_spaces[i]
                what = (
                    "a NaN or infinite observation"
                    if isinstance(space, Box)
                    else f"the observation {leaves[i][row].tolist()}"
                )
                raise EnvError(f"{self._place(int(slots[row]))} has {what}: accepted is {space}")

    def _place(self, slot: int) -> str:
        """The slot and the step of its episode, for errors."""
        return f"the environment in slot {slot}, at step {self._steps - self._began[slot]} of its episode,"

    def _kl(self, info: dict[str, Any], logprobs: Array, valid: Flags) -> Floats | None:
        """log π − log π_ref of the actions just taken, from `ref_logprob` in the infos."""
        reference, known = np.zeros(self.n_envs), np.zeros(self.n_envs, bool)
        for source in (info, info.get("final_info", {})):
            if "ref_logprob" in source:
                has = np.broadcast_to(source.get("_ref_logprob", True), self.n_envs)
                reference[has], known = np.asarray(source["ref_logprob"], np.float64)[has], known | has
        return np.where(known, logprobs - reference, 0.0) if known.any() or not valid.any() else None

    def _read_masks(self, info: dict[str, Any], rows: Flags | None = None) -> None:
        if self._mask_source is not None:
            self.masks = self._mask_source.read(info, rows)

    def _check_masks(self) -> None:
        if self.masks is not None:
            self.masks[self._spent] = True  # their actions are ignored
            require_an_action(self.masks)


def _innermost(env: Any) -> set[int]:
    """The identities of the environments below all wrappers, and inside a SyncVectorEnv."""
    return {id(one.unwrapped) for one in (env, *getattr(env.unwrapped, "envs", ()))}
