"""PPO against the analytic optimum p*(y|x) ∝ p_ref(y|x)·exp(score(x, y)/β) on enumerable texts (design §7.6).

`share` is the fraction of J(p*) − J(reference) that a policy has gained. The returns of the real environment are
compared with the enumerated ones for every text; training then mostly uses an environment that looks them up.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from enumerable_env import END, EnumerableEnv, QuickEnv, TablePolicy, TablePPO, V, random_lm
from textrlhf.agents import PPO
from textrlhf.envs.text.kl_penalty import DeferredKLPenalty, TokenKLPenalty
from textrlhf.envs.text.scoring import Scorer
from textrlhf.language.memory import TokenMemory

pytestmark = pytest.mark.slow

BETAS = (0.1, 0.5, 1.0)
TABLE = {
    "n_steps": 16,
    "batch_size": 1 << 30,  # the whole rollout
    "n_epochs": 8,
    "gamma": 1.0,
    "gae_lambda": 0.95,
    "learning_rate": 0.03,
    "lr_schedule": "linear",
    "clip_range_vf": None,
    "vf_coef": 0.5,
    "max_grad_norm": 1e6,
    "torch_threads": 1,
    "checkpoints": 1,
}
TRANSFORMER = {**TABLE, "batch_size": 512, "n_epochs": 4, "learning_rate": 5e-4, "max_grad_norm": 1.0}
ENOUGH = 0.998


@pytest.fixture(scope="module")
def adapter() -> EnumerableEnv:
    return EnumerableEnv()


@pytest.fixture(scope="module")
def small() -> EnumerableEnv:
    """Prompts of one token, texts of up to three tokens."""
    return EnumerableEnv(prompts=("a", "b"), length=3, seed=0)


class Shaped:
    """The scores of an environment, and of every beginning a random number: any potential leaves the optimum."""

    def __init__(self, adapter: EnumerableEnv, size: float = 1.0) -> None:
        self.adapter, self.size, self.scores = adapter, size, {}
        self.rng = np.random.default_rng(0)

    def __call__(self, prompts, responses):
        return self.adapter.reward_model(prompts, responses)

    def partial_scores(self, prompts, responses, ends):
        texts = [[(p, r[:end]) for end in some] for p, r, some in zip(prompts, responses, ends, strict=True)]
        return [
            [self.scores.setdefault(text, self.rng.normal(scale=self.size)) for text in some] for some in texts
        ], None


def any_table(adapter: EnumerableEnv, seed: int) -> np.ndarray:
    """A random policy near the reference."""
    logits = adapter.reference + np.random.default_rng(seed).standard_normal(adapter.reference.shape)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def trained(env, adapter: EnumerableEnv, updates: int, *, kind=TablePPO, policy=TablePolicy, **changes) -> np.ndarray:
    """log π of every text after training a table."""
    ppo = type("Learner", (kind,), {"world_of_texts": adapter, "policy_class": policy})
    agent = ppo(env, **{**TABLE, **changes})
    agent.learn(updates * env.num_envs * agent.config.n_steps, progress=False)
    return adapter.log_probs(agent.policy.table)


# The enumeration is correct.


@pytest.mark.parametrize("beta", BETAS)
def test_regret_is_beta_times_kl_to_the_optimum(adapter: EnumerableEnv, beta: float) -> None:
    """J(p*) − J(π) = β·KL(π ‖ p*); fails if a text is missed or counted twice, or p_ref and p* do not sum to 1."""
    best = adapter.optimum(beta)
    for seed in range(5):
        log_p = adapter.log_probs(any_table(adapter, seed))
        regret = adapter.objective(best, beta) - adapter.objective(log_p, beta)
        assert abs(regret - beta * adapter.kl(log_p, beta)) < 1e-6
        assert regret > 0.01
    assert np.allclose(np.exp(best).sum(1), 1)
    assert np.allclose(np.exp(adapter.log_probs(adapter.reference)).sum(1), 1)


@pytest.mark.parametrize("beta", BETAS)
def test_optimum_equals_backward_induction(adapter: EnumerableEnv, beta: float) -> None:
    """The optimal value of a prefix is β·log Σ_a p_ref(a)·exp(Q(a)/β); at the prompt it is J(p*)."""

    def value(prompt: int, text: tuple[int, ...]) -> float:
        row = prefixes[adapter.starts[prompt] + text]
        after = [ends.get((*text, a)) for a in range(V)]
        q = [value(prompt, (*text, a)) if i is None else adapter.scores[prompt, i] for a, i in enumerate(after)]
        return float(beta * np.logaddexp.reduce(adapter.reference[row] + np.array(q) / beta))

    prefixes = {prefix: row for row, prefix in enumerate(adapter.prefixes)}
    ends = {tuple(text[text >= 0].tolist()): i for i, text in enumerate(adapter.tokens)}
    values = [value(prompt, ()) for prompt in range(len(adapter.starts))]
    assert abs(np.mean(values) - adapter.objective(adapter.optimum(beta), beta)) < 1e-9


def returns_of(adapter: EnumerableEnv, env, table: np.ndarray, *, settles: bool = False) -> np.ndarray:  # (P, Y)
    """The return of each text in an environment."""
    shape, every = adapter.scores.shape, np.arange(adapter.scores.size)
    prompt, text = np.divmod(every, shape[1])
    observation, _ = env.reset(seed=0, options={"prompt": prompt})
    if settles:
        env.unwrapped.settle()
    found = np.zeros(len(every))
    for t in range(adapter.length):
        actions = np.maximum(adapter.tokens[text, t], END)  # after the end, another text whose reward is ignored
        env.unwrapped.policy_logprob = table[adapter.row(observation), actions]
        observation, rewards, *_ = env.step(actions)
        found += np.where(adapter.tokens[text, t] >= 0, rewards, 0.0)
    if settles:
        pending = env.unwrapped.settle()
        found += [rewards[:n].sum() for rewards, n in zip(pending, adapter.lengths[text], strict=True)]
    return found.reshape(shape)


def largest_error(adapter: EnumerableEnv, kl_penalty: str, *, settles: bool = False, **options) -> float:
    table, env = any_table(adapter, 0), adapter.make(adapter.scores.size, 0.5, kl_penalty=kl_penalty, **options)
    found = returns_of(adapter, env, table, settles=settles)
    return float(np.abs(found - adapter.returns(adapter.log_probs(table), 0.5)).max())


@pytest.mark.parametrize(("kl_penalty", "settles"), [("token", False), ("deferred", False), ("deferred", True)])
def test_environment_returns_equal_the_enumerated_ones(adapter: EnumerableEnv, kl_penalty: str, settles: bool) -> None:
    assert largest_error(adapter, kl_penalty, settles=settles) < 1e-5
    by_token = {"credit": "token", "reward_model": Shaped(adapter)}
    assert largest_error(adapter, kl_penalty, settles=settles, **by_token) < 1e-5


def test_lookup_returns_equal_the_enumerated_ones(adapter: EnumerableEnv) -> None:
    table = any_table(adapter, 0)
    found = returns_of(adapter, QuickEnv(adapter, adapter.scores.size, 0.5), table)
    assert np.abs(found - adapter.returns(adapter.log_probs(table), 0.5)).max() < 1e-12


def drop_a_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TokenKLPenalty.note

    def note(self, rows, tokens, logprobs, rules, kl_coef):
        found = whole(self, rows, tokens, logprobs, rules, kl_coef)
        self.start = getattr(self, "start", self.lengths.min())  # of all prompts
        return np.where(self.lengths[rows] == self.start, logprobs, found)

    monkeypatch.setattr(TokenKLPenalty, "note", note)


def settle_one_less(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = DeferredKLPenalty._penalties
    monkeypatch.setattr(
        DeferredKLPenalty,
        "_penalties",
        lambda self, due: [(np.r_[c[:-1], 0.0 * c[-1:]], kl) for c, kl in whole(self, due)],
    )


def read_one_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TokenMemory.catch_up
    monkeypatch.setattr(
        TokenMemory,
        "catch_up",
        lambda self, rows, texts, ends, *more: whole(self, rows, texts, np.maximum(ends - 1, 1), *more),
    )


def score_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Scorer.__call__

    def score(self, prompts, responses, *more):
        scores, known = whole(self, prompts, responses, *more)
        return 2 * scores, known

    monkeypatch.setattr(Scorer, "__call__", score)


@pytest.mark.parametrize(
    ("sabotage", "kl_penalty"),
    [(drop_a_penalty, "token"), (read_one_behind, "token"), (settle_one_less, "deferred"), (score_twice, "token")],
)
def test_sabotaged_environment_is_caught(small, monkeypatch, sabotage, kl_penalty: str) -> None:
    assert largest_error(small, kl_penalty) < 1e-5
    sabotage(monkeypatch)
    assert largest_error(small, kl_penalty) > 0.1


# PPO reaches the optimum.


@pytest.mark.parametrize("seed", range(2))
def test_ppo_reaches_the_optimum_of_a_small_environment(small: EnumerableEnv, seed: int) -> None:
    """The reference for the sabotaged variants below."""
    assert small.share(trained(QuickEnv(small, 256, 1.0), small, 45, seed=seed, n_steps=12), 1.0) > ENOUGH


@pytest.mark.parametrize(("beta", "updates", "kl"), [(0.1, 80, 0.03), (0.5, 140, 0.005), (1.0, 140, 0.005)])
def test_table_reaches_the_optimum(adapter: EnumerableEnv, beta: float, updates: int, kl) -> None:
    for seed in range(5):
        log_p = trained(QuickEnv(adapter, 512, beta), adapter, updates, seed=seed)
        assert adapter.share(log_p, beta) >= ENOUGH, seed
        assert adapter.kl(log_p, beta) <= kl, seed


def test_credit_by_token_leaves_the_optimum_where_it_is(small: EnumerableEnv) -> None:
    """Even by a potential that knows nothing of the score (a larger one only takes more updates)."""
    env = small.make(256, 1.0, kl_penalty="deferred", credit="token", reward_model=Shaped(small, 0.3))
    assert small.share(trained(env, small, 45, seed=0, n_steps=12), 1.0) > ENOUGH


def test_table_reaches_the_optimum_in_the_real_environment(adapter: EnumerableEnv) -> None:
    log_p = trained(adapter.make(256, 0.1, kl_penalty="deferred"), adapter, 50, seed=0, n_epochs=16)
    assert adapter.share(log_p, 0.1) >= ENOUGH
    assert adapter.kl(log_p, 0.1) <= 0.03


# A sabotaged PPO does not.


def missed(small: EnumerableEnv, **changes) -> bool:
    return (
        small.share(trained(QuickEnv(small, 256, 1.0), small, 45, seed=0, n_steps=12, **changes), 1.0) < ENOUGH - 0.003
    )


def first_penalty_dropped(rollout, beta: float) -> None:
    rollout.rewards[rollout.starts] += beta * rollout.kl[rollout.starts]


def last_penalty_dropped(rollout, beta: float) -> None:
    rollout.rewards[rollout.terminated] += beta * rollout.kl[rollout.terminated]


def score_paid_twice(rollout, beta: float) -> None:
    rollout.rewards += rollout.rewards + beta * rollout.kl


def score_paid_a_step_early(rollout, beta: float) -> None:
    scores = rollout.rewards + beta * rollout.kl
    rollout.rewards -= scores
    rollout.rewards[:-1] += scores[1:]


@pytest.mark.parametrize(
    "harm", [first_penalty_dropped, last_penalty_dropped, score_paid_twice, score_paid_a_step_early]
)
def test_sabotaged_rewards_miss_the_optimum(small: EnumerableEnv, harm) -> None:
    class Harmed(TablePPO):
        def collect(self, watch):
            rollout = super().collect(watch)
            harm(rollout, self.env.kl_coef)
            return rollout

    assert missed(small, kind=Harmed)


def test_without_policy_logprob_the_optimum_is_missed(small: EnumerableEnv) -> None:
    class Silent(TablePPO):
        def _build(self):
            super()._build()
            self.env.wants_logprobs = False

    assert missed(small, kind=Silent)


def test_discount_misses_the_optimum(small: EnumerableEnv) -> None:
    assert missed(small, gamma=0.9)


class OneBehind(TablePolicy):
    """Chooses before it has read the last token."""

    def read(self, memory, texts):
        super().read(memory, texts)
        ends = (texts >= 0).sum(1)
        late = np.where((np.arange(texts.shape[1]) < np.maximum(ends - 1, 1)[:, None]), texts, -1)
        return torch.from_numpy(self.env.row(late))


class Stale(TablePolicy):
    """Continues with the prompt of the previous text."""

    def forget(self, memory, starts):
        memory.texts[starts, 1:] = -1
        memory.lengths[starts] = (memory.texts[starts] >= 0).sum(1)


@pytest.mark.parametrize("policy", [OneBehind, Stale])
def test_sabotaged_memory_misses_the_optimum(small: EnumerableEnv, policy: type[TablePolicy]) -> None:
    assert missed(small, policy=policy)


# A transformer, which shares parameters between prefixes, comes near it.


@pytest.mark.long
def test_transformer_comes_near_the_optimum() -> None:
    adapter = EnumerableEnv(random_lm(width=64, layers=2, entropy=1.0))
    agent = PPO(adapter.make(128, 0.5, kl_penalty="deferred"), **TRANSFORMER, seed=0)
    agent.learn(80 * 128 * agent.config.n_steps, progress=False)
    assert adapter.share(adapter.log_probs(adapter.table(agent.policy.lm)), 0.5) >= 0.95
