"""Wrappers of text environments: strings, or `input_ids` and `attention_mask` as Hugging Face models take them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from ...language import CausalLM
from ...records.checks import one_of

Inputs = dict[str, NDArray[np.int64]]
SIDES = ("left", "right")


class AnyText(spaces.Text):
    """Any text up to a length, in any script; samples have letters and digits."""

    def __init__(self, max_length: int) -> None:
        super().__init__(max_length, min_length=0)

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text and not too long."""
        return isinstance(x, str) and len(x) <= self.max_length


class Strings(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Text in, text out: `reset()` returns the prompt; `step(" very good")` appends it and returns the text so far.

    The reward is the sum over its tokens. Append `env.end` to end the text; what would come after the end of a text is
    not written, but returned as `info["unwritten"]`.
    """

    def __init__(self, env: gym.Env[NDArray[np.int64], np.int64]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        self.lm = _lm(env)
        end = self.lm.chat.end_id if self.lm.has_template else None  # of a turn
        self.end: str = str(self.lm.tokenizer.eos_token if end is None else self.lm.decode([end], special=True))
        assert isinstance(env.observation_space, spaces.Box)
        longest = max(map(len, self.lm.tokenizer.get_vocab())) + 1
        self.observation_space = AnyText(env.observation_space.shape[0] * longest)
        self.action_space = AnyText(env.observation_space.shape[0] * longest)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Begin the next prompt and return it."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._text(observation), info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Append some text."""
        if not isinstance(action, str):
            raise TypeError(f"action is {action!r}: expected text, or env.end to end the text")
        tokens: list[int] = self.lm.encode_more(action).tolist()
        if not tokens:
            raise ValueError(f"action is {action!r}, which has no tokens: expected text, or env.end to end the text")
        if self.lm.with_unknown_tokens([tokens]):
            raise ValueError(f"action is {action!r}, which has words unknown to {self.lm}")
        total, info = 0.0, dict[str, Any]()
        for i, token in enumerate(tokens):
            observation, reward, terminated, truncated, info = self.env.step(np.int64(token))
            total += float(reward)
            if terminated or truncated:
                if tokens[i + 1 :]:
                    info["unwritten"] = self.lm.decode(tokens[i + 1 :])
                break
        return self._text(observation), total, terminated, truncated, info

    def _text(self, observation: NDArray[np.int64]) -> str:
        return self.lm.decode(observation[observation >= 0])


class ModelInputs(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Observations as `{"input_ids", "attention_mask"}`, padded on either side."""

    def __init__(self, env: gym.Env[NDArray[np.int64], np.int64], padding_side: str = "right") -> None:
        gym.utils.RecordConstructorArgs.__init__(self, padding_side=padding_side)
        super().__init__(env)
        one_of("padding_side", padding_side, SIDES)
        self.padding_side, self.pad_id = padding_side, pad_id(_lm(env))
        self.observation_space = _inputs_space(env.observation_space)

    def observation(self, observation: NDArray[np.int64]) -> Inputs:
        """Convert token ids padded with −1 to a model's inputs."""
        return model_inputs(observation, self.pad_id, self.padding_side)


class ModelInputsBatch(VectorWrapper[Inputs, Any, NDArray[np.int64], Any, Any]):
    """`ModelInputs` for a batch, in every autoreset mode."""

    changes_rewards = False

    def __init__(self, env: VectorEnv[NDArray[np.int64], Any, Any], padding_side: str = "right") -> None:
        super().__init__(env)
        one_of("padding_side", padding_side, SIDES)
        self.padding_side, self.pad_id = padding_side, pad_id(_lm(env))
        self.single_observation_space = _inputs_space(env.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Inputs, dict[str, Any]]:
        """Begin a text in every slot."""
        observation, info = self.env.reset(seed=seed, options=options)
        return model_inputs(observation, self.pad_id, self.padding_side), info

    def step(self, actions: Any) -> tuple[Inputs, Any, Any, Any, dict[str, Any]]:
        """Append one token in every slot."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        if self.env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP and "final_obs" in info:
            final = info["final_obs"] = info["final_obs"].copy()
            for row in np.flatnonzero(info["_final_obs"]):
                final[row] = model_inputs(final[row], self.pad_id, self.padding_side)
        return model_inputs(observation, self.pad_id, self.padding_side), reward, terminated, truncated, info


def model_inputs(observation: NDArray[np.int64], pad: int, padding_side: str = "right") -> Inputs:
    """Convert token ids (…, context), right-padded with −1, to what a Hugging Face model takes."""
    rows = np.atleast_2d(observation)
    seen = rows >= 0
    ids = np.where(seen, rows, pad)
    if padding_side == "left":
        shift = (np.arange(rows.shape[1]) - (~seen).sum(1, keepdims=True)) % rows.shape[1]
        ids, seen = np.take_along_axis(ids, shift, 1), np.take_along_axis(seen, shift, 1)
    shape = observation.shape
    return {"input_ids": ids.reshape(shape), "attention_mask": seen.astype(np.int64).reshape(shape)}


def pad_id(lm: CausalLM) -> int:
    """The tokenizer's padding token or, if it has none, the end of text: the attention mask hides both."""
    pad = lm.tokenizer.pad_token_id
    return int(lm.eos_ids[0] if pad is None else pad)


def _inputs_space(space: spaces.Space[Any]) -> spaces.Dict:
    assert isinstance(space, spaces.Box)
    high = int(space.high.max())
    return spaces.Dict(
        {
            "input_ids": spaces.Box(0, high, space.shape, np.int64),
            "attention_mask": spaces.Box(0, 1, space.shape, np.int64),
        }
    )


def _lm(env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> CausalLM:
    lm = getattr(env.unwrapped, "reference_model", None)
    if not isinstance(lm, CausalLM):
        raise TypeError(f"{env} is no text environment: expected one, such as gym.make('TextRLHF-v0')")
    return lm
