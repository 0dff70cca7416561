"""REINFORCE on a text environment, by hand, over the native batch: python examples/reinforce_by_hand.py

An agent does four things in the loop: set the log-probabilities, step, settle, update.
"""

import copy

import gymnasium as gym
import numpy as np
import torch

import textrlhf  # noqa: F401 - registers the environments
from textrlhf.language import CausalLM, make_memory, sample, token_logprobs
from textrlhf.language.logprobs import read_whole

N, UPDATES, LEARNING_RATE = 64, 40, 1e-3
SLOTS = np.arange(N)


def write(env, policy):
    """Write one text per slot: tokens (N, context), where responses begin, returns, scores, true scores (gold)."""
    observation, _ = env.reset()
    env.unwrapped.settle()  # from now on scores and penalties are returned by settle()
    begins = (observation >= 0).sum(1)
    memory, running = make_memory(policy, N), np.ones(N, bool)
    texts, lengths = np.zeros_like(observation), np.zeros(N, int)
    while running.any():
        with torch.no_grad():
            hidden = memory.catch_up(SLOTS, observation, (observation >= 0).sum(1))
            tokens, logprobs = sample(policy.head(hidden))
        env.unwrapped.policy_logprob = logprobs.cpu().numpy()  # log π of the actions
        observation, _, terminated, truncated, info = env.step(tokens.cpu().numpy())
        lengths += running
        ended = terminated | truncated
        for slot in np.flatnonzero(ended & running):
            texts[slot] = info["final_obs"][slot]
        memory.reset(np.flatnonzero(ended))  # these slots have new texts now, which are not used
        running &= ~ended
    rewards = env.unwrapped.settle()  # scores and the KL penalty of every token, in one forward of each model
    returns = np.array([slot[:length].sum() for slot, length in zip(rewards, lengths, strict=True)])
    infos = [slot[length - 1] for slot, length in zip(env.unwrapped.settled_info(), lengths, strict=True)]
    scores, gold = (np.array([info[name] for info in infos]) for name in ("score", "gold"))
    return texts, begins, returns, scores, gold


def update(policy, optimizer, texts, begins, returns):
    """Make texts with above-average returns more likely."""
    advantages = torch.tensor(
        (returns - returns.mean()) / (returns.std() + 1e-6), dtype=torch.float32, device=policy.device
    )
    grid = torch.from_numpy(np.maximum(texts, 0)).to(policy.device)
    place = np.arange(1, texts.shape[1])
    written = torch.from_numpy((place >= begins[:, None]) & (texts[:, 1:] >= 0)).to(policy.device)  # (N, context − 1)
    hidden = read_whole(policy, grid)[:, :-1][written]
    logprobs = token_logprobs(policy, hidden, grid[:, 1:][written])
    slot = written.nonzero()[:, 0]
    loss = -(advantages[slot] * logprobs).sum() / len(texts)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(policy.model.parameters(), 1.0)
    optimizer.step()


def main():
    """Train on the reward model; return the mean gold score before and after, which the agent never sees."""
    torch.manual_seed(0)
    env = gym.make_vec("TextRLHF-v0", num_envs=N, kl_penalty="deferred")
    env.reset(seed=0)
    reference = env.unwrapped.reference_model
    policy = CausalLM(copy.deepcopy(reference.model).requires_grad_(True), reference.tokenizer)
    optimizer = torch.optim.Adam(policy.model.parameters(), LEARNING_RATE)
    first = None
    for number in range(1, UPDATES + 1):
        texts, begins, returns, scores, gold = write(env, policy)
        first = gold.mean() if first is None else first
        if number % 5 == 0 or number == 1:
            best = texts[scores.argmax()]
            words = policy.decode(best[best >= 0])
            means = f"score {scores.mean():+.2f}  gold {gold.mean():+.2f}  return {returns.mean():+.2f}"
            print(f"{number:3}  {means}  {words}")
        update(policy, optimizer, texts, begins, returns)
    print(f"mean gold {first:+.2f} before, {gold.mean():+.2f} after {UPDATES} updates")
    return first, gold.mean()


if __name__ == "__main__":
    main()
