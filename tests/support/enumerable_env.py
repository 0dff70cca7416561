"""Environments of which every text is known: 6 tokens, a text of at most a few of them, a score drawn for each text.

The best policy against a reference, p*(y|x) ∝ p_ref(y|x)·exp(score(x, y)/β), and what any policy earns, are then sums
over all texts, in float64. A policy is a table here: a row of log-probabilities (V,) for every prefix that a text may
have while it is written.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedTokenizerFast

from textrlhf.agents import PPO
from textrlhf.agents.policies import Act, Evaluation
from textrlhf.agents.policies.distributions import Categorical
from textrlhf.language import CausalLM
from tiny_models import tiny_model

WORDS = "abcde"
V, END = 1 + len(WORDS), 0
# With these the texts that make up p* at β = .1 have p_ref ≥ e⁻⁶·⁵: a learner can only find what it samples.
LM_SEED, SCORES_SEED = 1, 493


def random_lm(seed: int = LM_SEED, *, width: int = 16, layers: int = 1, entropy: float = 1.4) -> CausalLM:
    """A GPT-2 with random weights, its logits scaled until the first token has about that entropy, in nats."""
    tokenizer = Tokenizer(models.WordLevel({"<end>": END, **{word: i for i, word in enumerate(WORDS, 1)}}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), END)
    shape = {"n_embd": width, "n_layer": layers, "n_head": 4, "n_positions": 16}
    model = tiny_model("gpt2", seed=seed, vocab_size=V, **special, **shape)
    lm = CausalLM(model, PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>"))
    for _ in range(50):
        log_p = next_log_probs(lm, [(token,) for token in range(V)])
        too_flat = -(np.exp(log_p) * log_p).sum(1).mean() - entropy
        for parameter in model.transformer.ln_f.parameters():  # what the head reads
            parameter.data.mul_(1 + 0.2 * too_flat)
    return lm


@torch.no_grad()
def next_log_probs(lm: CausalLM, texts: Sequence[tuple[int, ...]]) -> np.ndarray:  # (texts, V)
    """What a model thinks comes after texts of one length, read plainly: no cache, no padding."""
    tokens = torch.tensor(texts)
    logits = lm.model(tokens, attention_mask=torch.ones_like(tokens)).logits[:, -1]
    return logits.double().log_softmax(-1).numpy()


class EnumerableEnv:
    """P `prompts`, each of which `lm` may continue with any of Y texts of up to `length` tokens."""

    def __init__(
        self,
        lm: CausalLM | None = None,
        prompts: Sequence[str] = ("a", "b c"),
        length: int = 4,
        seed: int = SCORES_SEED,
    ) -> None:
        self.lm, self.prompts, self.length = lm or random_lm(), list(prompts), length
        self.starts = [tuple(self.lm.encode(prompt).tolist()) for prompt in prompts]
        assert not any(a[: len(b)] == b for a, b in itertools.permutations(self.starts, 2)), "a text of two prompts"
        words = range(1, V)
        going = [prefix for n in range(length) for prefix in itertools.product(words, repeat=n)]
        texts = [(*prefix, END) for prefix in going] + list(itertools.product(words, repeat=length))
        self.prefixes = [start + prefix for start in self.starts for prefix in going]  # the rows of a table
        row_of = {prefix: row for row, prefix in enumerate(self.prefixes)}
        self.lengths = np.array([len(text) for text in texts])
        self.tokens = np.array([text + (-1,) * (length - len(text)) for text in texts])  # (Y, length)
        self.rows = np.array(  # (P, Y, length) by which row each token is chosen
            [[[row_of.get(start + text[:t], 0) for t in range(length)] for text in texts] for start in self.starts]
        )
        self.scores = np.random.default_rng(seed).standard_normal((len(self.starts), len(texts)))
        self.context = max(map(len, self.starts)) + length
        self._digits = (V + 1) ** np.arange(self.context)
        self._row_of_number = np.full((V + 1) ** self.context, -1)
        self._row_of_number[[self._number(np.array(prefix)) for prefix in self.prefixes]] = range(len(self.prefixes))
        self._scored = {
            (prompt, self.lm.continuation(start, text)): score
            for prompt, start, scores in zip(self.prompts, self.starts, self.scores, strict=True)
            for text, score in zip(texts, scores, strict=True)
        }
        assert len(self._scored) == self.scores.size, "two texts read the same"
        self.reference = self.table(self.lm)

    def reward_model(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """The environment's reward model."""
        return [self._scored[text] for text in zip(prompts, responses, strict=True)]

    def make(self, n: int, beta: float, **options) -> VectorEnv:
        """The real environment."""
        own = {"model": self.lm, "reward_model": self.reward_model, "prompts": self.prompts, "context": self.context}
        own |= {"max_new_tokens": self.length, "kl_coef": beta, "device": "cpu", **options}
        return gym.make_vec("TextRLHF-v0", num_envs=n, **own)

    def table(self, lm: CausalLM) -> np.ndarray:  # (rows, V)
        """What a model makes of every prefix."""
        found = np.empty((len(self.prefixes), V))
        for length in {len(prefix) for prefix in self.prefixes}:
            rows = [row for row, prefix in enumerate(self.prefixes) if len(prefix) == length]
            found[rows] = next_log_probs(lm, [self.prefixes[row] for row in rows])
        return found

    def row(self, texts: np.ndarray) -> np.ndarray:  # (N, context) -> (N,)
        """The row that chooses what comes after these texts, right-padded with −1; −1 where there is none."""
        return self._row_of_number[self._number(texts)]

    def _number(self, texts: np.ndarray) -> np.ndarray:
        return ((texts + 1) * self._digits[: texts.shape[-1]]).sum(-1)

    def log_probs(self, table: np.ndarray) -> np.ndarray:  # (P, Y)
        """Of every text."""
        return np.where(self.tokens >= 0, table[self.rows, self.tokens], 0.0).sum(-1)

    def optimum(self, beta: float) -> np.ndarray:  # (P, Y)
        """log p* of every text."""
        tilted = self.log_probs(self.reference) + self.scores / beta
        return tilted - np.logaddexp.reduce(tilted, axis=1, keepdims=True)

    def returns(self, log_p: np.ndarray, beta: float) -> np.ndarray:  # (P, Y)
        """What a policy is paid for each text."""
        return self.scores - beta * (log_p - self.log_probs(self.reference))

    def objective(self, log_p: np.ndarray, beta: float) -> float:
        """J, the mean return, each prompt counting alike."""
        return float((np.exp(log_p) * self.returns(log_p, beta)).sum(1).mean())

    def kl(self, log_p: np.ndarray, beta: float) -> float:
        """KL(π ‖ p*) of a text, in nats."""
        return float((np.exp(log_p) * (log_p - self.optimum(beta))).sum(1).mean())

    def share(self, log_p: np.ndarray, beta: float) -> float:
        """How much of the way from J(reference) to J(p*) a policy has gone."""
        first, best = (self.objective(p, beta) for p in (self.log_probs(self.reference), self.optimum(beta)))
        return (self.objective(log_p, beta) - first) / (best - first)


class QuickEnv(VectorEnv):
    """What the real environment pays, looked up: for learning from hundreds of thousands of texts."""

    def __init__(self, env: EnumerableEnv, n: int, beta: float) -> None:
        self.env, self.num_envs, self.kl_coef = env, n, beta
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
        self.single_observation_space = spaces.Box(-1, V - 1, (env.context,), np.int64)
        self.single_action_space = spaces.Discrete(V)
        self.observation_space = batch_space(self.single_observation_space, n)
        self.action_space = batch_space(self.single_action_space, n)
        self.policy_logprob: np.ndarray | None = None
        self._starts = np.full((len(env.starts), env.context), -1)
        for row, start in zip(self._starts, env.starts, strict=True):
            row[: len(start)] = start
        every, last = np.arange(len(env.lengths)), env.lengths - 1
        ends = env.rows[:, every, last], env.tokens[every, last]  # the step that ends each text
        self._ends = np.zeros((len(env.prefixes), V), bool)
        self._scores = np.zeros((len(env.prefixes), V))
        self._ends[ends], self._scores[ends] = True, env.scores

    def reset(self, *, seed=None, options=None):
        self._rng = np.random.default_rng(seed)
        self.texts = np.empty((self.num_envs, self.env.context), np.int64)
        self._begin(np.arange(self.num_envs), (options or {}).get("prompt"))
        return self.texts.copy(), {}

    def _begin(self, slots: np.ndarray, prompts: Sequence[int] | None = None) -> None:
        drawn = self._rng.integers(len(self._starts), size=len(slots)) if prompts is None else prompts
        self.texts[slots] = self._starts[drawn]

    def step(self, actions):
        rows = self.env.row(self.texts)
        log_p, self.policy_logprob = self.policy_logprob, None
        reference, ended = self.env.reference[rows, actions], self._ends[rows, actions]
        rewards = self._scores[rows, actions] - self.kl_coef * ((0.0 if log_p is None else log_p) - reference)
        self.texts[np.arange(self.num_envs), (self.texts >= 0).sum(1)] = actions
        self._begin(np.flatnonzero(ended))
        return self.texts.copy(), rewards, ended, np.zeros_like(ended), {"ref_logprob": reference}


class Read:
    """The tokens of each slot's text as far as they were read."""

    def __init__(self, n: int, context: int) -> None:
        self.texts = np.full((n, context), -1)
        self.lengths = np.zeros(n, np.int64)


class RowLog:
    """The table row of each step."""

    def __init__(self, env: EnumerableEnv) -> None:
        self.env, self.rows = env, []

    def add(self, observation, starts) -> None:
        self.rows.append(self.env.row(observation[0]))

    def take(self, steps, segments) -> torch.Tensor:
        return torch.from_numpy(np.stack(self.rows).reshape(-1)[steps.numpy()])


class TablePolicy(nn.Module):
    """A row of logits and a value for every prefix, so it can represent any policy; it starts as the reference.

    It acts on what it has read, token by token, and learns from what was observed.
    """

    by_segments = False  # rows know nothing of each other

    def __init__(self, env: EnumerableEnv) -> None:
        super().__init__()
        self.env = env
        self.logits = nn.Parameter(torch.from_numpy(env.reference).float())
        self.worth = nn.Parameter(torch.zeros(len(env.prefixes)))
        self.distribution = Categorical([V])

    @property
    def network(self) -> nn.Module:
        return self

    @property
    def table(self) -> np.ndarray:
        return self.logits.detach().double().log_softmax(-1).numpy()

    def to_device(self, device) -> None:
        self.to(device)

    def initial_memory(self, n: int) -> Read:
        return Read(n, self.env.context)

    def forget(self, memory: Read, starts) -> None:
        memory.texts[starts] = -1
        memory.lengths[starts] = 0

    def read(self, memory: Read, texts: np.ndarray) -> torch.Tensor:
        """Read the new tokens, and return the rows of the next choice."""
        new = (np.arange(texts.shape[1]) >= memory.lengths[:, None]) & (texts >= 0)
        memory.texts[new] = texts[new]
        memory.lengths = (memory.texts >= 0).sum(1)
        return torch.from_numpy(self.env.row(memory.texts))

    @torch.no_grad()
    def act(self, observation, memory, starts, *, deterministic=False, masks=None, generator=None) -> Act:
        self.forget(memory, starts)
        rows = self.read(memory, observation[0])
        action, log_prob = self.distribution.sample(self.logits[rows], deterministic=deterministic, generator=generator)
        return Act(action, log_prob, memory)

    @torch.no_grad()
    def values(self, log, acts) -> torch.Tensor:
        return self.worth[torch.from_numpy(np.stack(log.rows))]

    @torch.no_grad()
    def value(self, observation, memory, rows=None) -> torch.Tensor:
        return self.worth[torch.from_numpy(self.env.row(observation[0]))]

    def microbatches(self, batch):
        return ((batch, 1.0),)

    def evaluate(self, batch) -> Evaluation:
        rows = batch.observations
        return Evaluation(*self.distribution.evaluate(self.logits[rows], batch.actions), self.worth[rows])

    def new_log(self, memory) -> RowLog:
        return RowLog(self.env)

    def after_update(self, memory):
        return memory  # texts, of which no weights are part

    def update_statistics(self, log, valid) -> None:
        pass


class TablePPO(PPO):
    """PPO as it is, with a table for a policy."""

    world_of_texts: EnumerableEnv
    policy_class = TablePolicy

    def make_policy(self):
        return self.policy_class(self.world_of_texts)
