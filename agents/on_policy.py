"""Agents that learn from what they have just done: gather a rollout, estimate advantages, update, drop it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..records.progress import Stopwatch
from .callbacks import Metrics
from .diagnostics import DivergedError
from .flat import FlatAdam
from .masks import pack
from .normalize import RewardNorm
from .policies import Act
from .policies.choose import PolicyConfig
from .policy_agent import PolicyAgent
from .rollout import ObservationLog, Rollout
from .spaces import Array
from .world import Turn


@dataclass(frozen=True)
class OnPolicyConfig(PolicyConfig):
    """What on-policy agents share."""

    n_steps: int = 256
    """steps every environment takes between two updates"""
    learning_rate: float = 3e-4
    """Adam's step size"""
    gamma: float = 0.99
    """discount: 1/(1−γ) steps is how far ahead the agent looks"""
    gae_lambda: float = 0.95
    """0 trusts the critic (low variance), 1 trusts the returns (no bias)"""
    normalize_reward: bool = False
    """scale rewards by the running deviation of the discounted return"""

    def check(self) -> None:
        """See `Config.check`."""
        super().check()
        self.require(["n_steps"], lambda value: value >= 1, "at least 1")
        self.require(["learning_rate"], lambda value: value > 0, "above 0")
        self.require(["gamma", "gae_lambda"], lambda value: 0 <= value <= 1, "between 0 and 1")


class OnPolicyAgent(PolicyAgent):
    """Gathers rollouts; a subclass says how to learn from one."""

    config: OnPolicyConfig

    def _build(self) -> None:
        super()._build()
        self.optimizer = FlatAdam(self.policy.network, eps=1e-5)
        norm = self.config.normalize_reward
        self.reward_norm = RewardNorm(self.world.n_envs, self.config.gamma) if norm else None
        fingerprint = getattr(self.world.reference_model, "fingerprint", None)
        self._reference: str | None = fingerprint() if fingerprint else None  # nobody moves it, so once is enough

    @abstractmethod
    def update(self, rollout: Rollout, remaining: float) -> Metrics:
        """Learn from a rollout whose advantages are estimated."""

    def advance(self, remaining: float, watch: Stopwatch) -> Metrics:
        """One rollout and one update."""
        with self.precision():
            rollout = self.collect(watch)
        rollout.estimate_advantages(self.config.gamma, self.config.gae_lambda)
        watch.lap("values")
        with self.precision():
            metrics = self.update(rollout, remaining)
        if not self.optimizer.flat.isfinite().all():
            raise DivergedError(f"update {self.n_updates} left weights that are not finite numbers")
        self.n_updates += 1
        self.memory = self.policy.refreshed(self.memory)
        self.policy.absorb(rollout.log, rollout.valid)
        watch.lap("update")
        return metrics

    def collect(self, watch: Stopwatch) -> Rollout:
        """Take `n_steps` in every slot; whoever calls holds `precision`."""
        world, policy = self.world, self.policy
        log = policy.new_log(self.memory)
        acts, turns, starts, masks = [], [], [], []
        cut_values: list[tuple[int, Array, Tensor]] = []  # step, rows, what their final observations are worth
        for t in range(self.config.n_steps):
            log.add(self.observation, self.starts)
            starts.append(self.starts)
            if world.masks is not None:
                masks.append(pack(world.masks))
            act = policy.act(
                self.observation, self.memory, self.starts, masks=world.masks, generator=self.random.actions
            )
            actions, log_probs = act.on_host()
            watch.lap("acting")
            turn = world.step(actions, log_probs if world.announces else None)
            watch.lap("environment")
            if turn.final is not None:
                rows = np.flatnonzero(turn.truncated)
                cut_values.append((t, rows, policy.value(turn.final, act.memory, rows)))
            self.observation, self.starts, self.memory = turn.observation, turn.starts, act.memory
            acts.append(act)
            turns.append(replace(turn, observation=(), final=None))  # the log keeps of them what is needed
        log.add(self.observation, self.starts)
        values = policy.values(log, acts)  # (T+1, N)
        next_values = values[1:].double().cpu().numpy()
        for t, rows, final_values in cut_values:
            next_values[t, rows] = final_values.double().cpu().numpy()
        watch.lap("values")
        rollout = self._gathered(log, acts, turns, starts, masks, values[:-1], next_values)
        if world.settles:
            self._settle(rollout)
            watch.lap("environment")
        self.num_timesteps += rollout.valid.size
        told = {(t, slot): what for t, turn in enumerate(turns) for slot, what in turn.told.items()}
        self.episodes.add(rollout.rewards, rollout.ended, rollout.valid, rollout.kl, told)
        if self.reward_norm:
            rollout.rewards = self.reward_norm(rollout.rewards, rollout.ended, rollout.valid)
        return rollout

    def _gathered(
        self,
        log: ObservationLog,
        acts: list[Act],
        turns: list[Turn],
        starts: list[Array],
        masks: list[Array],
        values: Tensor,
        next_values: NDArray[np.float64],
    ) -> Rollout:
        if masks and len(masks) < len(acts):  # the first steps said nothing of masks, and so allowed everything
            masks = [np.full_like(masks[0], 255)] * (len(acts) - len(masks)) + masks
        said = [turn.kl for turn in turns if turn.kl is not None]
        return Rollout(
            log=log,
            by_segments=self.policy.by_segments,
            actions=torch.stack([act.action for act in acts]),
            log_probs=torch.stack([act.log_prob for act in acts]),
            values=values,
            rewards=np.stack([turn.reward for turn in turns]),
            terminated=np.stack([turn.terminated for turn in turns]),
            truncated=np.stack([turn.truncated for turn in turns]),
            valid=np.stack([turn.valid for turn in turns]),
            starts=np.stack(starts),
            next_values=next_values,
            kl=np.stack(said) if len(said) == len(turns) else None,
            masks=np.stack(masks) if masks else None,
            mask_width=self.world.masks.shape[-1] if self.world.masks is not None else 0,
        )

    def cut(self, world_state: list[Any] | None) -> None:
        """See `Agent.cut`."""
        super().cut(world_state)
        if self.reward_norm:
            self.reward_norm.cut()

    def state_dict(self) -> dict[str, Any]:
        """See `Agent.state_dict`."""
        norm = {"reward_norm": self.reward_norm.state_dict()} if self.reward_norm else {}
        reference = {"reference_model": self._reference} if self._reference else {}
        return {**super().state_dict(), **norm, **reference}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Agent.load_state_dict`."""
        if state.get("reference_model", self._reference) != self._reference:
            raise ValueError(
                f"the environment's reference model, {self.world.reference_model}, has other weights than the one this "
                "agent began from and is charged against: pass env=… with that model, or put its files back; to go on "
                "from what the agent has become, begin a new one in an environment whose model= is the run's model/"
            )
        super().load_state_dict(state)
        if self.reward_norm:
            self.reward_norm.load_state_dict(state["reward_norm"])

    def _settle(self, rollout: Rollout) -> None:
        charges, kl = self.world.settle(rollout.valid.sum(0))
        settled = np.zeros_like(rollout.rewards)
        for slot, owed in enumerate(charges):
            if len(owed):
                rollout.rewards[rollout.valid[:, slot], slot] += owed
                if kl is not None:
                    settled[rollout.valid[:, slot], slot] = kl[slot]
        if kl is not None and any(map(len, kl)):
            rollout.kl = settled
