"""A toy environment of tokens with the interface of text environments: policy_logprob, settle, reference_model.

Token 0 ends the text, 1 is dropped (the observation does not change), 2 makes the environment add two tokens of its
own, the rest are appended. The score is the share of 3s. The reference is one fixed distribution.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

END, DROPPED, ANSWERED, WANTED = 0, 1, 2, 3
V, CONTEXT = 6, 24
REFERENCE = np.log(np.array([0.1, 0.1, 0.1, 0.2, 0.25, 0.25]))


class Text:
    """One unfinished text."""

    def __init__(self, kl_penalty: str, kl_coef: float, budget: int) -> None:
        self.kl_penalty, self.kl_coef, self.budget = kl_penalty, kl_coef, budget
        self.settled_by_agent = False
        self.unpaid: list[float] = []

    def begin(self, rng: np.random.Generator) -> None:
        self.tokens = rng.integers(3, V, rng.integers(1, 5)).tolist()
        self.prompt = len(self.tokens)
        self.taken = 0
        self.kl = 0.0

    def take(self, token: int, logprob: float | None) -> tuple[float, bool, bool]:
        """Reward, terminated, truncated."""
        kl = (0.0 if logprob is None else logprob) - REFERENCE[token]
        self.kl += kl
        self.taken += 1
        if token == ANSWERED:
            self.tokens += [token, 4, 5]
        elif token not in (END, DROPPED):
            self.tokens.append(token)
        terminated = token == END
        truncated = not terminated and (self.taken >= self.budget or len(self.tokens) + 3 > CONTEXT)
        reward = self.score() if terminated else 0.0
        kl_penalty = -self.kl_coef * kl
        if self.kl_penalty == "token":
            reward += kl_penalty
        else:
            self.unpaid.append(kl_penalty)
            if (terminated or truncated) and not self.settled_by_agent:
                reward += sum(self.unpaid)
                self.unpaid = []
        return reward, terminated, truncated

    def score(self) -> float:
        response = self.tokens[self.prompt :]
        return response.count(WANTED) / max(1, len(response))

    def settle(self) -> np.ndarray:
        self.settled_by_agent = True
        unpaid, self.unpaid = np.array(self.unpaid), []
        return unpaid

    def observation(self) -> np.ndarray:
        padded = np.full(CONTEXT, -1, np.int64)
        padded[: len(self.tokens)] = self.tokens
        return padded


class TokenEnv(gym.Env):
    """One text as a Gymnasium environment."""

    metadata = {"render_modes": []}

    def __init__(self, kl_penalty: str = "token", kl_coef: float = 0.1, budget: int = 12) -> None:
        self.observation_space = spaces.Box(-1, V - 1, (CONTEXT,), np.int64)
        self.action_space = spaces.Discrete(V)
        self.text = Text(kl_penalty, kl_coef, budget)
        self.policy_logprob = None
        self.reference_model = "the fixed distribution"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.text.begin(self.np_random)
        return self.text.observation(), {}

    def step(self, action):
        logprob, self.policy_logprob = self.policy_logprob, None
        reward, terminated, truncated = self.text.take(int(action), None if logprob is None else float(logprob))
        return self.text.observation(), reward, terminated, truncated, {}

    def settle(self) -> np.ndarray:
        return self.text.settle()


class TokenVectorEnv(VectorEnv):
    """The same texts as a native batch, in any autoreset mode."""

    def __init__(
        self,
        num_envs: int,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        kl_penalty: str = "token",
        kl_coef: float = 0.1,
        budget: int = 12,
    ) -> None:
        self.num_envs, self.mode = num_envs, autoreset_mode
        self.metadata = {"autoreset_mode": autoreset_mode, "render_modes": []}
        self.single_observation_space = spaces.Box(-1, V - 1, (CONTEXT,), np.int64)
        self.single_action_space = spaces.Discrete(V)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.texts = [Text(kl_penalty, kl_coef, budget) for _ in range(num_envs)]
        self.policy_logprob = None
        self.reference_model = "the fixed distribution"
        self.done = np.zeros(num_envs, bool)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.rngs = [np.random.default_rng(seed + i) for i in range(self.num_envs)]
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for i in np.flatnonzero(mask):
            self.texts[i].begin(self.rngs[i])
        self.done &= ~mask
        return self._observations(), {}

    def step(self, actions):
        logprobs, self.policy_logprob = self.policy_logprob, None
        n = self.num_envs
        rewards, terminated, truncated = np.zeros(n), np.zeros(n, bool), np.zeros(n, bool)
        info: dict = {}
        for i, text in enumerate(self.texts):
            if self.done[i]:
                assert self.mode is AutoresetMode.NEXT_STEP, "stepped after the end"
                text.begin(self.rngs[i])
                self.done[i] = False
                continue
            logprob = None if logprobs is None else float(logprobs[i])
            rewards[i], terminated[i], truncated[i] = text.take(int(actions[i]), logprob)
            self.done[i] = terminated[i] or truncated[i]
            if self.done[i] and self.mode is AutoresetMode.SAME_STEP:
                info.setdefault("final_obs", np.full(n, None, object))[i] = text.observation()
                info.setdefault("_final_obs", np.zeros(n, bool))[i] = True
                text.begin(self.rngs[i])
                self.done[i] = False
        return self._observations(), rewards, terminated, truncated, info

    def settle(self) -> list[np.ndarray]:
        return [text.settle() for text in self.texts]

    def _observations(self) -> np.ndarray:
        return np.stack([text.observation() for text in self.texts])
