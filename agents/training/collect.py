"""Collecting rollouts: act for a number of steps and return them as a `Rollout`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...records.progress import Stopwatch
from ..environment.adapter import EnvAdapter, StepResult
from ..environment.masks import pack
from ..environment.spaces import Array, Floats
from ..experience.rollout import Rollout
from ..policies import Act, Memory, Policy
from .episode_statistics import EpisodeStatistics

Infos = dict[tuple[int, int], dict[str, Any]]  # of the episodes that ended, by (step, slot)


class Collector:
    """Acts with a policy in an environment; each rollout continues where the last one ended."""

    def __init__(self, env: EnvAdapter, policy: Policy, episodes: EpisodeStatistics) -> None:
        self.env, self.policy, self.episodes = env, policy, episodes

    def reset(self, seed: int, env_state: list[Any] | None = None) -> None:
        """Start new episodes in every slot."""
        self.observation = self.env.reset(seed, env_state)
        self.env.announce_settling()
        self.starts = np.ones(self.env.n_envs, bool)
        self.memory: Memory = self.policy.initial_memory(self.env.n_envs)

    def collect(
        self,
        n_steps: int,
        generator: torch.Generator,
        watch: Stopwatch,
        on_step: Callable[[StepResult], None] | None = None,
    ) -> Rollout:
        """Take `n_steps` in every slot; `on_step` is called after each.

        1. The policy acts on the observations; the log stores what training will need of them.
        2. The environments step. For a truncated episode the critic evaluates the final observation at once.
        3. After the last step the critic evaluates all observations, if it has not while the policy acted.
        4. Scores and KL penalties that are pending are added to the rewards.
        5. Returns and lengths of the episodes that ended are recorded.
        """
        env, log = self.env, self.policy.new_log(self.memory)
        acts: list[Act] = []
        results: list[StepResult] = []
        starts: list[Array] = []
        masks: list[Array] = []
        final_values: list[tuple[int, Array, Tensor]] = []  # step, truncated rows, values of their final observations
        for t in range(n_steps):
            log.add(self.observation, self.starts)
            starts.append(self.starts)
            if env.masks is not None:
                masks.append(pack(env.masks))
            act = self.policy.act(self.observation, self.memory, self.starts, masks=env.masks, generator=generator)
            actions, log_probs = act.on_host()
            watch.lap("acting")
            result = env.step(actions, log_probs if env.wants_logprobs else None)
            watch.lap("environment")
            if on_step is not None:
                on_step(result)
            if result.final is not None:
                rows = np.flatnonzero(result.truncated)
                final_values.append((t, rows, self.policy.value(result.final, act.memory, rows)))
            self.observation, self.starts, self.memory = result.observation, result.starts, act.memory
            acts.append(act)
            results.append(replace(result, observation=(), final=None))  # stored in the log
        log.add(self.observation, self.starts)
        values = self.policy.values(log, acts)  # (T+1, N)
        next_values = values[1:].double().cpu().numpy()
        for t, rows, found in final_values:
            next_values[t, rows] = found.double().cpu().numpy()
        watch.lap("values")
        if masks:  # if the first steps had none, all actions were allowed
            masks = [np.full_like(masks[0], 255)] * (n_steps - len(masks)) + masks
        kl = [result.kl for result in results if result.kl is not None]
        rollout = Rollout(
            log=log,
            by_segments=self.policy.by_segments,
            actions=torch.stack([act.action for act in acts]),
            log_probs=torch.stack([act.log_prob for act in acts]),
            values=values[:-1],
            rewards=np.stack([result.reward for result in results]),
            terminated=np.stack([result.terminated for result in results]),
            truncated=np.stack([result.truncated for result in results]),
            valid=np.stack([result.valid for result in results]),
            starts=np.stack(starts),
            next_values=next_values,
            kl=np.stack(kl) if len(kl) == n_steps else None,
            masks=np.stack(masks) if masks else None,
            mask_width=env.masks.shape[-1] if env.masks is not None else 0,
        )
        infos = {(t, slot): info for t, result in enumerate(results) for slot, info in result.episode_info.items()}
        if env.settles:
            self._settle(rollout, infos)
            watch.lap("environment")
        ended = rollout.ended
        infos = {at: info for at, info in infos.items() if ended[at]}  # settled ones also come of texts that go on
        rollout.credit = _credit(rollout, infos) if env.is_text else None
        self.episodes.add(rollout.rewards, rollout.ended, rollout.valid, rollout.kl, infos)
        return rollout

    def _settle(self, rollout: Rollout, infos: Infos) -> None:
        """Add what is known only now to rewards, KL and infos."""
        found = self.env.settle(rollout.valid.sum(0))
        settled = np.zeros_like(rollout.rewards)
        for slot, rewards in enumerate(found.rewards):
            steps = np.flatnonzero(rollout.valid[:, slot])
            if len(rewards):
                rollout.rewards[steps, slot] += rewards
            if found.kl is not None and len(found.kl[slot]):
                settled[steps, slot] = found.kl[slot]
            for step, info in found.infos[slot].items():
                infos.setdefault((int(steps[step]), slot), {}).update(info)
        if found.kl is not None and any(map(len, found.kl)):
            rollout.kl = settled


def _credit(rollout: Rollout, infos: Infos) -> Floats | None:
    """The last potentials of truncated episodes, at their last steps; None where no rewards are shaped."""
    found = {at: info["credit"] for at, info in infos.items() if "credit" in info and rollout.truncated[at]}
    if not found:
        return None
    credit = np.zeros_like(rollout.rewards)
    for at, value in found.items():
        credit[at] = value
    return credit
