"""Our side of ppo_vs_trl.py: the models that both sides learn with, our agent, and its rollout beside a bare loop.

Run as a script it is the process in which our side learns, one update at a time.
"""

from __future__ import annotations

import math
import os
import time
from typing import Any

from trl_ppo_worker import Turns, read

VOCAB, EOS, NEVER, OFTEN = 4096, 0, -16.0, 5.3  # how much more likely the end is than other tokens, as a log
Timed = dict[str, Any]


def make_models(folder: str, prompt: int) -> list[list[int]]:
    """Write the policies and reward models of both kinds of text; return prompts."""
    import numpy as np
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from textrlhf.language import CausalLM
    from textrlhf.reward_models import RewardModel

    shape = {"n_embd": 256, "n_layer": 4, "n_head": 4, "n_positions": 128, "vocab_size": VOCAB}
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w1"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0")
    for name, likelier in (("whole", NEVER), ("early", OFTEN)):
        torch.manual_seed(0)
        config = GPT2Config(**shape, **no_dropout, bos_token_id=EOS, eos_token_id=EOS)
        model = GPT2LMHeadModel(config).requires_grad_(False)
        norm, head, size = model.transformer.ln_f, model.transformer.wte, abs(likelier) ** 0.5
        norm.weight[0], norm.bias[0] = 0.0, size  # a state's first number is now the same everywhere
        head.weight[EOS] = 0.0
        head.weight[EOS, 0] = math.copysign(size, likelier)
        saved = CausalLM(model, tokenizer).save(os.path.join(folder, name))
        RewardModel.new(saved, "last", end=name == "early", device="cpu").save(
            os.path.join(folder, f"{name}-reward-model")
        )
    return np.random.default_rng(0).integers(2, VOCAB, (512, prompt)).tolist()


def main() -> None:
    """Learn, one update at a time."""
    turns = Turns()
    import torch
    from transformers.models.gpt2 import modeling_gpt2  # noqa: F401 - which would be imported when a model is loaded
    from transformers.models.llama import modeling_llama  # noqa: F401

    import textrlhf.agents.training.loop
    from textrlhf.agents import Callback
    from textrlhf.language import load
    from textrlhf.reward_models import RewardModel

    turns.imported()
    given = turns.given

    class Pause(Callback):
        def on_update(self, agent, metrics) -> bool:
            turns.tokens = agent.env.n_envs * agent.config.n_steps
            turns.done()
            return True

    torch.set_num_threads(given["threads"])
    reward_model = RewardModel.load(given["reward_model"], device="cpu")
    agent = our_agent(given, given["model"], reward_model, kl_penalty="deferred")
    reads = read(load(given["model"], "cpu").model, reward_model.network.model, *given["text"])
    turns.begin({"versions": {"textrlhf": textrlhf.__version__}, "reads": reads})
    agent.learn(1 << 40, callbacks=[Pause()], progress=False)


def our_agent(given: dict, model: str, reward_model, **kwargs):
    import gymnasium as gym

    from textrlhf.agents import PPO

    texts = given.get("texts") or [" ".join(f"w{i}" for i in ids) for ids in given["prompts"]]
    rows = [{"prompt": text, "split": "train"} for text in texts]
    env = gym.make_vec(
        "TextRLHF-v0",
        num_envs=given["batch"],
        model=model,
        reward_model=reward_model,
        prompts=rows,
        max_new_tokens=given["response"],
        context=given["prompt"] + given["response"],
        kl_coef=given["kl_coef"],
        device="cpu",
        **kwargs,
    )
    return PPO(
        env,
        n_steps=given["response"],
        n_epochs=given["epochs"],
        batch_size=given["batch"] * given["response"],
        learning_rate=given["learning_rate"],
        separate_critic=given["separate_critic"],
        bf16=given["bf16"],
        torch_threads=given["threads"],
        device="cpu",
        seed=0,
        **given.get("further", {}),
    )


def clocks() -> tuple[float, float]:
    """The wall's and the processor's."""
    return time.perf_counter(), time.process_time()


def rollout(given: dict, folder: str, repetitions: int) -> tuple[list[dict[str, Timed]], int]:
    """Our rollout beside a bare loop that writes the same tokens: times in turn, and how many texts they began.

    When the texts are written the critic reads them, which a bare loop has none to do: counted apart.
    """
    import numpy as np
    import torch

    from textrlhf.language import load, make_memory, sample
    from textrlhf.records.progress import Stopwatch

    n, budget, steps = given["batch"], given["response"], 2 * given["response"]
    model = os.path.join(folder, "early")
    agent = our_agent(given, model, lambda texts, responses: np.zeros(len(texts)), kl_penalty="none")
    agent.config = type(agent.config)(**{**agent.config.to_json(), "n_steps": steps})
    engine, drawn = agent.env.vector_env.unwrapped.engine, agent.random.actions.get_state()
    begin, taken = engine.begin, []

    def watched(rows, numbers=None) -> None:
        begin(rows, numbers)
        taken.extend(engine.prompts.tokens[engine.prompt_numbers[row]] for row in rows)

    @torch.no_grad()
    def bare() -> np.ndarray:  # (steps, n)
        lm, generator = load(model, "cpu"), torch.Generator()
        generator.set_state(drawn)
        following, memory, rows = iter(texts), make_memory(lm, n), np.arange(n)
        new, written, wrote = [next(following) for _ in range(n)], np.zeros(n, int), []
        for _ in range(steps):
            actions, _ = sample(lm.head(memory.read(rows, new)), generator=generator)
            wrote.append(actions.numpy())
            new, written = list(wrote[-1][:, None]), written + 1
            ended = np.flatnonzero((wrote[-1] == EOS) | (written == budget))
            memory.reset(ended)
            written[ended] = 0
            for row in ended:
                new[row] = next(following)
        return np.stack(wrote)

    policy, valuing = agent.policy, np.zeros(2)
    values, value = policy.values, policy.value

    def timed(critic, *asked):
        began = np.array(clocks())
        valued = critic(*asked)
        np.add(valuing, clocks() - began, out=valuing)
        return valued

    policy.values, policy.value = (lambda *asked: timed(values, *asked)), (lambda *asked: timed(value, *asked))

    def ours() -> np.ndarray:
        agent.random.actions.set_state(drawn)
        agent.cut(None)
        return agent.collect(Stopwatch()).actions.numpy()

    engine.begin = watched
    with agent.threads():
        first = ours()
        texts, engine.begin = list(taken), begin
        assert (bare() == first).all(), "the bare loop writes other texts than ours"
        rows = []
        for _ in range(repetitions):
            row = {}
            for name, side in (("bare", bare), ("ours_with_values", ours)):
                valuing[:], began = 0, np.array(clocks())
                side()
                row[name] = {"tokens": n * steps, "seconds": clocks() - began}
            row["ours"] = {"tokens": n * steps, "seconds": row["ours_with_values"]["seconds"] - valuing}
            rows.append(row)
    return rows, len(texts)


if __name__ == "__main__":
    main()
