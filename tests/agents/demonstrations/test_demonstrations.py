"""Recording, saving, loading and checking demonstrations."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from textrlhf.agents import PPO, Demonstrations, Episode, record
from textrlhf.agents.demonstrations.demonstrations import Prefixes
from textrlhf.agents.demonstrations.loading import check_demonstrations
from textrlhf.agents.environment.adapter import EnvAdapter
from textrlhf.agents.environment.masks import pack
from textrlhf.agents.environment.vectorize import vectorize
from textrlhf.records.jsonl import DataError
from token_env import CONTEXT, TokenEnv, TokenVectorEnv
from token_env import V as TOKENS

MODES = list(AutoresetMode)


class Counter(gym.Env):
    """Observes the number of steps and the last action; the seed sets the episode's length."""

    metadata = {"render_modes": []}
    observation_space = spaces.Dict({"t": spaces.Box(0, 99, (1,), np.float32), "last": spaces.Discrete(5)})
    action_space = spaces.Discrete(5, start=3)

    def __init__(self, masks_from: int | None = None) -> None:
        self.masks_from, self.episodes = masks_from, 0

    def _observe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        info = {}
        if self.masks_from is not None and self.t >= self.masks_from:
            info["action_mask"] = np.arange(5) != self.t % 5
        return {"t": np.array([self.t], np.float32), "last": self.last}, info

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.last, self.length = 0, 0, int(self.np_random.integers(1, 8))
        return self._observe()

    def step(self, action):
        self.t, self.last = self.t + 1, int(action) - 3
        seen, info = self._observe()
        return seen, 1.0, self.t == self.length, False, info


def count_expert(observation: dict[str, Any]) -> int:
    """The number of the step, as an action."""
    return 3 + int(observation["t"][0]) % 5


def counters(mode: AutoresetMode, n: int = 3, **kwargs: Any) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: Counter(**kwargs)] * n, autoreset_mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_observations_are_those_before_the_actions(mode: AutoresetMode) -> None:
    """Fails if observations are shifted, reset steps recorded, or episodes joined."""
    found = record(count_expert, counters(mode), 10, seed=1)
    assert len(found) == 10
    for episode in found.episodes:
        last, t = episode.observations  # a Dict's keys in order
        np.testing.assert_array_equal(t[:, 0], np.arange(len(episode)))
        np.testing.assert_array_equal(episode.actions, 3 + np.arange(len(episode)) % 5)
        np.testing.assert_array_equal(last[1:], episode.actions[:-1] - 3)
        assert episode.reward == len(episode)
    assert len({len(episode) for episode in found.episodes}) > 3


def test_autoreset_modes_record_the_same() -> None:
    prints = {record(count_expert, counters(mode, 1), 8, seed=2).fingerprint() for mode in MODES}
    assert len(prints) == 1


def test_every_slot_plays_its_share() -> None:
    """Keeping the first episodes to end would favour short ones."""
    lengths = [len(e) for e in record(count_expert, counters(MODES[0], 4), 12, seed=0).episodes]
    expected = []
    for i in range(4):
        env = Counter()
        for seed in (i, None, None):
            env.reset(seed=seed)
            expected.append(env.length)
    assert sorted(lengths) == sorted(expected)


def test_missing_masks_allow_every_action() -> None:
    found = record(masked_expert, counters(AutoresetMode.NEXT_STEP, masks_from=2), 9, seed=3)
    assert {episode.masks is None for episode in found.episodes} == {False}
    for episode in found.episodes:
        masks = np.unpackbits(episode.masks, axis=-1, count=5).astype(bool)
        for t, mask in enumerate(masks):
            if t >= 2:
                np.testing.assert_array_equal(mask, np.arange(5) != t % 5)
    assert masks_of(record(count_expert, counters(MODES[0]), 3)) == {None}


def masked_expert(observation: dict[str, Any]) -> int:
    return 3 + (int(observation["t"][0]) + 1) % 5


def masks_of(found: Demonstrations) -> set[None]:
    return {episode.masks for episode in found.episodes}  # type: ignore[misc]


def test_agent_records_in_its_own_environment_by_seed() -> None:
    agent = PPO("CartPole-v1", seed=0, n_envs=2)
    first, again, other = (record(agent, n_episodes=3, seed=s, deterministic=False) for s in (1, 1, 2))
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert first.episodes[0].observations[0].shape == (len(first.episodes[0]), 4)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_texts_are_stored_as_tokens(native: bool, mode: AutoresetMode) -> None:
    """Each observation is a prefix of one text, even if a token is dropped or several are added."""
    env = TokenVectorEnv(4, mode) if native else SyncVectorEnv([TokenEnv] * 4, autoreset_mode=mode)
    seen: list[tuple[int, ...]] = []

    def writer(observation: np.ndarray) -> int:
        seen.append(tuple(observation))
        return int(np.random.default_rng(len(seen)).integers(TOKENS))

    found = record(writer, env, 12, seed=5)
    for episode in found.episodes:
        assert isinstance(episode.observations, Prefixes)
        rows = [tuple(row) for row in episode.observations.rows(CONTEXT)]
        assert set(rows) <= set(seen)
        assert len(episode.observations.tokens) <= CONTEXT
        steps = np.diff(episode.observations.lengths)
        for action, step in zip(episode.actions, steps, strict=False):
            assert step == {0: 0, 1: 0, 2: 3}.get(int(action), 1)


class Window(gym.Env):
    """A text of which only the latest four tokens are shown."""

    metadata = {"render_modes": []}
    observation_space = spaces.Box(-1, 9, (4,), np.int64)
    action_space = spaces.Discrete(10)
    reference_model = "none"

    def _seen(self) -> np.ndarray:
        latest = self.tokens[-4:]
        return np.array(latest + [-1] * (4 - len(latest)))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.tokens = [1]
        return self._seen(), {}

    def step(self, action):
        self.tokens.append(int(action))
        return self._seen(), 0.0, len(self.tokens) == 8, False, {}


def test_windows_of_a_text_are_stored_as_observed() -> None:
    """The last window is not the whole text."""
    (episode,) = record(lambda seen: (seen.max() + 1) % 10, Window(), 1).episodes
    np.testing.assert_array_equal(
        episode.observations[0], [[1, -1, -1, -1], [1, 2, -1, -1], [1, 2, 3, -1], [1, 2, 3, 4], *rolling(5, 8)]
    )


def rolling(first: int, last: int) -> list[list[int]]:
    return [[k - 3, k - 2, k - 1, k] for k in range(first, last)]


def numbers(n: int = 5, *, masks: bool = False, heldout: bool = False) -> Demonstrations:
    rng = np.random.default_rng(n)
    episodes = []
    for length in rng.integers(1, 9, n):
        seen = rng.normal(size=(length, 2)).astype(np.float32), rng.integers(0, 9, (length,))
        packed = pack(rng.random((length, 11)) < 0.7) if masks else None
        episodes.append(Episode(seen, rng.integers(0, 11, length), packed, float(rng.normal())))
    return Demonstrations(episodes, rng.random(n) < 0.5 if heldout else None)


def texts(n: int = 5) -> Demonstrations:
    rng = np.random.default_rng(n)
    return Demonstrations(
        [
            Episode(Prefixes(rng.integers(0, 9, length), np.arange(2, length + 1)), rng.integers(0, 9, length - 1))
            for length in rng.integers(3, 9, n)
        ]
    )


@pytest.mark.parametrize(
    "made", [numbers(), numbers(1), numbers(masks=True, heldout=True), texts(), texts(1)], ids=range(5)
)
def test_save_and_load_round_trip(made: Demonstrations, tmp_path: Path) -> None:
    made.save(tmp_path / "d.npz")
    back = Demonstrations.load(tmp_path / "d.npz")
    assert back.fingerprint() == made.fingerprint()
    assert [e.reward for e in back.episodes] == pytest.approx([e.reward for e in made.episodes], nan_ok=True)
    for ours, theirs in zip(made.episodes, back.episodes, strict=True):
        for (name, a), (same, b) in zip(ours.named(), theirs.named(), strict=True):
            assert (name, a.dtype) == (same, b.dtype)
            np.testing.assert_array_equal(a, b)
    assert (back.heldout is None) == (made.heldout is None)


def test_fingerprint_depends_on_everything_but_rewards() -> None:
    def changed(**parts: Any) -> str:
        first, *rest = numbers(masks=True).episodes
        kept = {"observations": first.observations, "actions": first.actions, "masks": first.masks}
        return Demonstrations([Episode(**{**kept, **parts}), *rest]).fingerprint()

    first = numbers(masks=True).episodes[0]
    base = numbers(masks=True).fingerprint()
    assert changed() == base
    assert changed(reward=9.0) == base  # rewards are not trained on
    for parts in (
        {"observations": (first.observations[0] + 1, first.observations[1])},
        {"actions": (first.actions + 1) % 11},
        {"masks": ~first.masks},
    ):
        assert changed(**parts) != base


def write(path: Path, **columns: Any) -> Path:
    np.savez(path, **columns)
    return path


def columns(**changes: Any) -> dict[str, Any]:
    made = {**dict(numbers()._columns()), **changes}
    return {name: column for name, column in made.items() if column is not None}


def of_texts(**changes: Any) -> dict[str, Any]:
    return {**dict(texts()._columns()), **changes}


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (columns(format=None), "has no 'format', only lengths"),
        (columns(format=2), "has format 2, this version of textrlhf reads 1"),
        (columns(lengths=None), "has no 'lengths'"),
        (columns(actions=None), "has no 'actions'"),
        (columns(**{"observations.0": None, "observations.1": None}), "has no 'observations.0'"),
        (columns(actions=np.zeros(3, np.int64)), "actions has 3 entries, but the sum of lengths is"),
        (columns(lengths=np.array([-1, 3])), "its lengths are not integers"),
        (columns(lengths=np.array([0.5, 3])), "its lengths are not integers"),
        (columns(rewards=np.zeros(2)), "5 episodes and 2 rewards"),
        (columns(heldout=np.zeros(2, bool)), "heldout has 2 entries for 5 episodes"),
        (
            columns(
                lengths=np.zeros(0, np.int64),
                actions=np.zeros(0),
                **{"observations.0": np.zeros(0), "observations.1": np.zeros(0)},
                rewards=np.zeros(0),
            ),
            "has no episodes",
        ),
        (columns(masks=np.zeros(3, np.uint8)), "masks has 3 entries"),
        (of_texts(text_lengths=np.array([1, 2])), "tokens has .* entries, but the sum of lengths is 3"),
        (of_texts(prefixes=np.zeros_like(of_texts()["prefixes"])), "prefixes .* do not grow from 1 or more"),
        (of_texts(prefixes=of_texts()["prefixes"] + 1), "do not grow from 1 or more to at most"),
        (of_texts(tokens=of_texts()["tokens"] - 9), "its tokens are not integers"),
    ],
)
def test_inconsistent_file_is_refused(held: Any, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.npz", **held)
    with pytest.raises(DataError, match=said) as caught:
        Demonstrations.load(path)
    assert str(path) in str(caught.value)


def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="where there is no file: expected a .npz"):
        Demonstrations.load(tmp_path / "gone.npz")
    for name, content in {"text": b"hello", "empty": b"", "zip": b"PK\x03\x04 and no more"}.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(DataError, match=re.escape(str(path)) + " cannot be read"):
            Demonstrations.load(path)
    numbers().save(tmp_path / "cut.npz")
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cut.npz cannot be read"):
        Demonstrations.load(tmp_path / "cut.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DataError, match="it is a single array"):
        Demonstrations.load(tmp_path / "one.npz")
    with pytest.raises(ValueError, match="name ending in .npz"):
        numbers().save(tmp_path / "demos.json")


class Bomb:
    """Sets a flag when it is unpickled."""

    gone_off = False

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return (explode, ())


def explode() -> None:
    Bomb.gone_off = True


def test_load_runs_no_pickle(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.npz", **columns(actions=np.array([Bomb()], object)))
    with pytest.raises(DataError, match="cannot be read"):
        Demonstrations.load(path)
    assert not Bomb.gone_off


SEEN = (np.zeros((3, 2), np.float32),)
DONE = np.zeros(3, np.int64)


@pytest.mark.parametrize(
    ("episode", "said"),
    [
        (Episode(SEEN, np.zeros(2, np.int64)), "it has 3 observations and 2 actions"),
        (Episode((*SEEN, np.zeros((2, 1))), DONE), "it has 2 observations and 3 actions"),
        (Episode(SEEN, DONE, np.zeros((1, 1), np.uint8)), "it has 1 masks and 3 actions"),
        (Episode((np.zeros((0, 2)),), np.zeros(0)), "it has no steps: drop it"),
        (Episode((np.array([[0, 0], [np.nan, 0], [0, 0]]),), DONE), "its observations at step 1 are not finite"),
        (Episode(SEEN, np.array([0, 0, np.inf])), "its actions at step 2 are not finite"),
        (Episode(SEEN, np.array(["a", "b", "c"])), "its actions are .* expected an array of numbers"),
        (Episode(SEEN, [0, 0, 0]), "its actions are .* expected an array of numbers"),
        (
            Episode((np.zeros((3, 5), np.float32),), DONE),
            r"shape \(5,\).* but episode 0 has observations of shape \(2,\)",
        ),
        (Episode(SEEN, DONE, np.zeros((3, 1), np.uint8)), "and masks, but episode 0 has .* no masks"),
        (
            Episode(Prefixes(np.arange(4), np.array([1, 2, 3])), DONE),
            "it has a text, .* but episode 0 has observations",
        ),
    ],
)
def test_invalid_episode_is_refused(episode: Episode, said: str) -> None:
    with pytest.raises(DataError, match=f"demonstrations, episode 1: .*{said}"):
        Demonstrations([Episode(SEEN, DONE), episode])
    if "but episode 0" not in said:
        with pytest.raises(DataError, match=f"demonstrations, episode 0: .*{said}"):
            Demonstrations([episode, Episode(SEEN, DONE)])


def test_empty_demonstrations_are_refused() -> None:
    with pytest.raises(DataError, match="has no episodes"):
        Demonstrations([])


def cartpole(**parts: Any) -> Demonstrations:
    kept = {"observations": (np.zeros((3, 4), np.float32),), "actions": np.zeros(3, np.int64)}
    return Demonstrations([Episode(**{**kept, **parts})])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (cartpole(observations=SEEN), r"observations of shape \(2,\): the observation space is Box"),
        (cartpole(observations=(*SEEN, *SEEN)), r"observations of shape \(2,\) and \(2,\)"),
        (cartpole(actions=np.array([0, 2, 1])), r"action 2 at step 1: the action space is Discrete\(2\)"),
        (cartpole(actions=np.array([0, 0, -1])), "action -1 at step 2"),
        (cartpole(actions=np.array([0, 0.5, 1])), "action 0.5 at step 1"),
        (cartpole(actions=np.zeros((3, 1))), r"actions of shape \(1,\): the action space is Discrete\(2\)"),
        (cartpole(masks=pack(np.array([[1, 1], [0, 1], [1, 1]]))), "action 0 at step 1 is forbidden by its mask"),
        (cartpole(masks=np.zeros((3, 2), np.uint8)), r"masks of shape \(2,\) .* expected the 1 bytes per step"),
        (texts(), "it is a text, but the observation space is"),
    ],
)
def test_demonstrations_of_another_environment_are_refused(made: Demonstrations, said: str) -> None:
    with pytest.raises(DataError, match=f"demonstrations, episode 0: .*({said})"):
        check_demonstrations(made, EnvAdapter(vectorize("CartPole-v1", 1)))


def test_matching_demonstrations_are_accepted() -> None:
    adapter = EnvAdapter(vectorize("CartPole-v1", 1))
    check_demonstrations(cartpole(), adapter)
    check_demonstrations(cartpole(masks=pack(np.array([[1, 0], [1, 1], [1, 0]]))), adapter)


def test_box_actions_out_of_bounds_are_refused() -> None:
    adapter = EnvAdapter(vectorize("Pendulum-v1", 1))
    made = Demonstrations([Episode((np.zeros((2, 3), np.float32),), np.array([[0.0], [2.5]]))])
    with pytest.raises(DataError, match=r"action \[2.5\] at step 1: the action space is Box.*np.clip"):
        check_demonstrations(made, adapter)
    with pytest.raises(DataError, match="it has action masks, but the action space is Box"):
        check_demonstrations(
            Demonstrations([Episode((np.zeros((2, 3)),), np.zeros((2, 1)), np.zeros((2, 1), np.uint8))]), adapter
        )


def test_discrete_observations_are_checked() -> None:
    adapter = EnvAdapter(vectorize("FrozenLake-v1", 1))
    check_demonstrations(Demonstrations([Episode((np.array([0, 15]),), np.array([1, 2]))]), adapter)
    with pytest.raises(DataError, match=r"observation 16 at step 1: the space is Discrete\(16\)"):
        check_demonstrations(Demonstrations([Episode((np.array([0, 16]),), np.array([1, 2]))]), adapter)


def test_texts_of_another_tokenizer_are_refused() -> None:
    adapter = EnvAdapter(vectorize(TokenEnv(), 1))
    for text in (
        Prefixes(np.array([1, 2, TOKENS]), np.array([2, 3])),
        Prefixes(np.ones(CONTEXT + 1, int), np.array([2, 3])),
    ):
        with pytest.raises(DataError, match="another tokenizer"):
            check_demonstrations(Demonstrations([Episode(text, np.array([0, 0]))]), adapter)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda seen: 2, r"the expert returned action 2 .*Discrete\(2\)"),
        (lambda seen: [0], r"the expert returned \[0\]: expected an action of Discrete\(2\), without a state"),
        (lambda seen: (0, (seen, seen)), r"the expert returned \(0, .*without a state"),
    ],
)
def test_invalid_expert_actions_are_refused(answer: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        record(answer, "CartPole-v1", 1)


def test_record_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="env is missing"):
        record(lambda seen: 0)
    with pytest.raises(ValueError, match="n_episodes=0: accepted is at least 1"):
        record(lambda seen: 0, "CartPole-v1", 0)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_models_of_stable_baselines3_are_experts(env_id: str) -> None:
    from stable_baselines3 import PPO as SB3

    model = SB3("MlpPolicy", env_id, n_steps=64, device="cpu", seed=0)
    found = [
        record(e, env_id, 2, n_envs=1)
        for e in (model, model.predict, lambda seen: model.predict(seen, deterministic=True)[0])
    ]
    for other in found[1:]:
        for one, same in zip(found[0].episodes, other.episodes, strict=True):
            np.testing.assert_allclose(one.actions, same.actions, atol=1e-5)
    seen, first = found[0].episodes[0].observations[0], found[0].episodes[0].actions
    np.testing.assert_allclose(model.predict(seen, deterministic=True)[0], first, atol=1e-5)


def test_a_recurrent_model_keeps_its_state() -> None:
    class Odd:
        """Chooses its action by the number of steps it has seen."""

        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            state = np.zeros(len(observation), np.int64) if state is None else state
            state = np.where(episode_start, 1, state + 1)
            return state % 2, state

    found = record(Odd(), "CartPole-v1", 4, n_envs=2)
    for episode in found.episodes:
        assert episode.actions.tolist() == [(t + 1) % 2 for t in range(len(episode))]


def test_the_predict_of_an_agent_is_the_agent() -> None:
    agent = PPO("CartPole-v1", n_envs=1, seed=0)
    assert record(agent.predict, n_episodes=2).fingerprint() == record(agent, n_episodes=2).fingerprint()


def test_a_state_returned_with_an_action_is_left_out() -> None:
    agent = PPO("CartPole-v1", n_envs=1, seed=0)
    given = record(lambda seen: agent.predict(seen, deterministic=True), "CartPole-v1", n_episodes=2)
    assert given.fingerprint() == record(agent, n_episodes=2).fingerprint()


def test_observations_without_a_tuple_are_refused() -> None:
    """The 4 numbers of an observation were counted as 4 observations."""
    with pytest.raises(DataError, match=r"expected a tuple with one array .*Episode\(\(observations,\), actions\)"):
        Episode(np.zeros((100, 4), np.float32), np.zeros(100, np.int64))
