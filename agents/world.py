"""The one adapter between an agent and its environments.

Whatever is given (an id, an environment, a vector environment; any autoreset mode), the agent sees a batch of
slots that never stops: each step says which rows were real, which episodes ended and with what, and which rows
open a new one. The three things an environment may ask of its agent live here too and nowhere else in `agents`:
`policy_logprob` (announced before a step), `reference_model`, and `settle()` (charges paid after the fact).
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

from ..language.growing import growing_lengths
from .endings import Endings, Told
from .masks import Mask, MaskSource, require_an_action
from .reach import Reach
from .spaces import ActionCodec, Array, Leaves, leaf_spaces, leaves_of, stack_leaves
from .vectorize import Vectorized, log

Flags = NDArray[np.bool_]


class WorldError(RuntimeError):
    """An environment broke its contract."""


@dataclass(slots=True)
class Turn:
    """What one step of all slots brought."""

    observation: Leaves  # to act on next, each leaf (N, ...)
    starts: Flags  # (N,) rows whose observation opens an episode
    reward: NDArray[np.float64]  # (N,)
    terminated: Flags  # (N,)
    truncated: Flags  # (N,) cut short: the learner bootstraps from `final`
    valid: Flags  # (N,) False where the step was spent on a reset (NEXT_STEP)
    kl: NDArray[np.float64] | None  # (N,) log π − log π_ref of the actions, where the world says it at once
    told: Told  # what the world says of the episodes that have ended
    final: Leaves | None  # the last observations of the truncated rows, in row order


class World:
    """A batch of environment slots in one dialect."""

    def __init__(self, made: Vectorized) -> None:
        self.env, self.recipe, self.owned = made.env, made.recipe, made.owned
        self.n_envs = self.env.num_envs
        self.observation_space = self.env.single_observation_space
        self.action_space = self.env.single_action_space
        self.leaf_spaces = leaf_spaces(self.observation_space)
        self.codec = ActionCodec(self.action_space)
        if "autoreset_mode" not in self.env.metadata:
            log.warning("%s does not say its autoreset_mode in its metadata: taken for NEXT_STEP", self.env)
        self.autoreset = AutoresetMode(self.env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._floats = [i for i, leaf in enumerate(self.leaf_spaces) if np.issubdtype(leaf.dtype, np.floating)]
        self._spent = np.zeros(self.n_envs, bool)  # NEXT_STEP: rows whose next step is a reset
        self.masks: Mask | None = None
        reach = self._reach = Reach(self.env)
        choices = self.codec.choices
        self._mask_source = MaskSource(reach, self.n_envs, sum(choices)) if choices else None
        self.announces = reach.has("policy_logprob")
        self.settles = reach.has("settle")
        self._settles_kl = reach.has("settled_kl")
        self._endings = Endings()
        self.reference_model: Any = reach.get("reference_model") if reach.has("reference_model") else None
        self.horizon = 2 * (made.max_episode_steps or 0)  # steps in which two episodes fit, if known
        self._stateful = reach.has("get_state") and reach.has("set_state")
        # Only of the environment itself: a wrapper may keep what it sees.
        self._lends = reach.native and self.env is reach.base and reach.has("copies_observations")
        self._borrows = False

    def borrow(self, wanted: bool) -> None:
        """Whether to take observations that are not copied, where the environment has such (`language.growing`).

        Whoever wants them keeps none beyond the next step.
        """
        self._borrows = wanted and self._lends

    @contextlib.contextmanager
    def _borrowing(self) -> Iterator[None]:
        """Let the environment copy nothing while the block runs; others who step it get copies."""
        if not self._borrows:
            yield
            return
        before, self._reach.base.copies_observations = self._reach.base.copies_observations, False
        try:
            yield
        finally:
            self._reach.base.copies_observations = before

    def reset(self, seed: int | None = None, state: list[Any] | None = None) -> Leaves:
        """Begin an episode in every slot; `state` (from `get_state`) is put back after seeding."""
        with self._borrowing():
            observation, info = self.env.reset(seed=seed)
            if state is not None and self._stateful and self._reach.spread("set_state", state):
                observation, info = self.env.reset()
        self._spent[:] = False
        self._read_masks(info)
        self._check_masks()
        return self._leaves(observation)

    def step(self, actions: Array, logprobs: Array | None = None) -> Turn:
        """Take the policy's actions (N, ...), announced with their log-probabilities where the world asks."""
        if self.announces and logprobs is not None:
            self._reach.set("policy_logprob", logprobs)
        with self._borrowing():
            observation, reward, terminated, truncated, info = self.env.step(self.codec.to_env(actions))
        reward = np.asarray(reward, np.float64)
        if not np.isfinite(reward).all():
            raise WorldError(_not_finite("reward", np.flatnonzero(~np.isfinite(reward))))
        leaves = self._leaves(observation)
        valid, ended = ~self._spent, terminated | truncated
        same_step = self.autoreset is AutoresetMode.SAME_STEP
        told = self._endings.read(info, ended, valid & ~ended, same_step=same_step)
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
            with self._borrowing():
                observation, info = self.env.reset(options={"reset_mask": ended})
            leaves = self._leaves(observation)
            self._read_masks(info, ended)
        self._check_masks()
        return Turn(leaves, starts, reward, terminated, truncated, valid, kl, told, final)

    def promise_to_settle(self) -> None:
        """Tell worlds that ask that somebody here settles, so that no reward will carry the charges."""
        if self.settles:
            self._reach.call("settle")

    def settle(self, counts: NDArray[np.int64]) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]] | None]:
        """What each slot still owes, to be added to its rewards in order: nothing, or `counts` charges.

        And the KL of each charged token, where the world says so.
        """
        charges = [np.asarray(slot, np.float64).reshape(-1) for slot in self._reach.call("settle")]
        for row, (slot, due) in enumerate(zip(charges, counts, strict=True)):
            if len(slot) not in (0, due):
                raise WorldError(
                    f"settle() returned {len(slot)} charges for slot {row}: expected {due}, one for each step "
                    "since it was last called, in order, or none where every step has been charged"
                )
        if not self._settles_kl:
            return charges, None
        return charges, [np.asarray(slot, np.float64).reshape(-1) for slot in self._reach.call("settled_kl")]

    @property
    def kl_coef(self) -> float:
        """β, what a nat of KL costs."""
        return float(self._reach.get("kl_coef"))

    @kl_coef.setter
    def kl_coef(self, value: float) -> None:
        self._reach.set("kl_coef", value if self._reach.native else [value] * self.n_envs)

    @property
    def charges_kl(self) -> bool:
        """Whether there is a β to set."""
        return self._reach.has("kl_coef")

    def get_state(self) -> list[Any] | None:
        """The slots' cursors and random states, where the environment keeps them as plain JSON."""
        if not self._stateful:
            return None
        try:
            state: list[Any] = json.loads(json.dumps(list(self._reach.call("get_state"))))
        except TypeError as error:
            raise WorldError(f"get_state() must return plain JSON, so that a checkpoint can keep it: {error}") from None
        return state

    @property
    def names_of_steps(self) -> list[str]:
        """What infos tell of steps, not of episodes, as far as it has shown."""
        return sorted(self._endings.of_steps)

    @names_of_steps.setter
    def names_of_steps(self, names: list[str]) -> None:
        self._endings.of_steps.update(names)

    def close(self) -> None:
        """Close what this world made itself."""
        if self.owned:
            self.env.close()

    def _leaves(self, observation: Any) -> Leaves:
        if self._borrows and growing_lengths(observation) is not None:
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
                raise WorldError(_not_finite("observation", slots[broken]))

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
