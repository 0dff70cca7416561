"""TRL's side of ppo_vs_trl.py and real_vs_trl.py, which start it: PPO (TRL 1.12.0) or GRPO (1.16.0), update by update.

Runs in TRL's own environment. A line of JSON says what to learn, and learns as a user would, with
`trainer.train()`; after each update a callback answers with a line of JSON and waits for the next line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


class Turns:
    """A worker's end of the line to whoever started it: an update, an answer, a wait. `ours` has one, too."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever else is printed goes where errors go
        self.given: dict[str, Any] = json.loads(sys.stdin.readline())
        self.tokens = 0  # generated in this update, and trained on
        self._imports = 0.0

    def imported(self) -> None:
        """From here on memory counts."""
        self._imports = memory("VmRSS")

    def begin(self, about: dict[str, Any]) -> None:
        """Say what there is, and wait for the first turn."""
        self._say(about)

    def done(self, **further: Any) -> None:
        """An update is over: say what it took, and wait. When nobody asks any more, end."""
        wall, busy = time.perf_counter() - self._began, time.process_time() - self._busy
        peak = memory("VmHWM") - self._imports
        self._say({"seconds": [wall, busy], "tokens": self.tokens, "mib": round(peak), **further})

    def _say(self, what: dict[str, Any]) -> None:
        print(json.dumps(what), file=self._answers, flush=True)
        if not sys.stdin.readline():
            os._exit(0)  # in the middle of a training that has no end
        self.tokens = 0
        self._began, self._busy = time.perf_counter(), time.process_time()


def memory(which: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at its most."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(which + ":"))


def read(model: Any, reward_model: Any, prompt: list[int], response: list[int]) -> dict[str, float]:
    """A fixed text's log-probability and score, to see that both sides have the same models."""
    import torch

    ids = torch.tensor([prompt + response])
    with torch.no_grad():
        logprobs = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        chosen = logprobs.gather(1, torch.tensor(response)[:, None]).sum()
        states = reward_model.base_model(ids).last_hidden_state[0, -1]
        return {"logprob": float(chosen), "score": float(reward_model.score(states))}


def plain_settings(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of every trainer of TRL's; `accumulate` parts of a batch are read one by one, and make one step."""
    return {
        "output_dir": given["folder"],
        "per_device_train_batch_size": given["batch"] // given["accumulate"],
        "gradient_accumulation_steps": given["accumulate"],
        "learning_rate": given["learning_rate"],
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused",
        "use_cpu": True,
        "bf16": given["bf16"],
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def ppo(turns: Turns, tokenizer: Any, callback: Any, plain: dict[str, Any]) -> Any:
    """A trainer, and two of its models."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

    given = turns.given
    model, reference = (AutoModelForCausalLM.from_pretrained(given["model"]) for _ in range(2))
    reward_model, critic = (AutoModelForSequenceClassification.from_pretrained(given["reward_model"]) for _ in range(2))
    generated = ppo_trainer.batch_generation

    def counted(*args: Any) -> Any:
        texts, logits = generated(*args)
        if not given["ends"]:
            turns.tokens += texts[:, given["prompt"] :].numel()
        else:
            before = (texts[:, given["prompt"] :] == tokenizer.eos_token_id).cumsum(1) == 0
            turns.tokens += int(before.sum() + (~before).any(1).sum())  # the end is a token too
        return texts, logits

    ppo_trainer.batch_generation = counted
    settings = PPOConfig(
        **plain,
        total_episodes=given["batch"] * 10**6,
        num_ppo_epochs=given["epochs"],
        num_mini_batches=1,
        response_length=given["response"],
        temperature=1.0,
        stop_token="eos" if given["ends"] else None,
        kl_coef=given["kl_coef"],
        num_sample_generations=0,
    )
    trainer = PPOTrainer(
        args=settings,
        processing_class=tokenizer,
        model=model,
        ref_model=reference,
        reward_model=reward_model,
        value_model=critic,
        train_dataset=Dataset.from_dict({"input_ids": given["prompts"]}),
        callbacks=[callback],
    )
    return trainer, model, reward_model


def grpo(turns: Turns, tokenizer: Any, callback: Any, plain: dict[str, Any]) -> Any:
    """A trainer, and two of its models."""
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification
    from trl import GRPOConfig, GRPOTrainer

    given = turns.given
    reward_model = AutoModelForSequenceClassification.from_pretrained(given["reward_model"])

    def count(completion_ids: list[list[int]], **_: Any) -> list[float]:
        turns.tokens += sum(map(len, completion_ids))
        return [0.0] * len(completion_ids)

    settings = GRPOConfig(
        **plain,
        max_steps=10**6,
        num_iterations=given["epochs"],
        num_generations=8,
        max_completion_length=given["response"],
        temperature=1.0,
        beta=given["kl_coef"],
        reward_weights=[1.0, 0.0],
        steps_per_generation=given["accumulate"],
        disable_dropout=True,
    )
    trainer = GRPOTrainer(
        model=given["model"],
        reward_funcs=[reward_model, count],
        reward_processing_classes=[tokenizer, None],
        args=settings,
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": [tokenizer.decode(ids) for ids in given["prompts"]]}),
        callbacks=[callback],
    )
    return trainer, trainer.model, reward_model


def main() -> None:
    turns = Turns()
    if turns.given["bf16"]:  # as `accelerate launch` says it: PPOTrainer does not pass on its own setting
        os.environ["ACCELERATE_MIXED_PRECISION"] = "bf16"
    import datasets
    import torch
    import transformers
    import transformers.models.gpt2.modeling_gpt2
    import transformers.models.llama.modeling_llama
    import trl

    given = turns.given
    if given["algorithm"] == "ppo":
        import trl.experimental.ppo
    else:
        import trl.trainer.grpo_trainer
    turns.imported()
    torch.set_num_threads(given["threads"])
    datasets.disable_progress_bars()
    tokenizer = transformers.AutoTokenizer.from_pretrained(given["model"], padding_side="left")
    tokenizer.add_special_tokens(
        {"pad_token": "<pad>"}
    )  # one that the model cannot write; never read: no row is padded

    class Pause(transformers.TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            turns.done()

    plain = plain_settings(given)
    trainer, model, reward_model = {"ppo": ppo, "grpo": grpo}[given["algorithm"]](turns, tokenizer, Pause(), plain)
    assert {weights.dtype for weights in model.parameters()} == {torch.float32}
    assert trainer.accelerator.mixed_precision == ("bf16" if given["bf16"] else "no")
    versions = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    turns.begin({"versions": versions, "reads": read(model, reward_model, *given["text"])})
    trainer.train()


if __name__ == "__main__":
    main()
