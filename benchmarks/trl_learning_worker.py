"""TRL's side of learning_vs_trl.py, which starts it: PPO (TRL 1.12.0) on the shipped model, by the shipped reward
model.

The reward model adds up what each token of a response is worth, which Hugging Face has no class for: here it is a
backbone whose last state at a token is the score of the text so far, and a head that passes it on, so that TRL reads
it as it reads any reward model.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trl_ppo_worker import Turns, plain_settings


def make_reward_model(folder: str, end: int) -> Any:
    """The reward model in this folder; set `reward_model.backbone.begin` to where responses begin."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModel

    about = json.loads((Path(folder) / "config.json").read_text())["textrlhf"]
    assert (about["head"], about["end"]) == ("tokens", False)
    head = load_file(os.path.join(folder, "head.safetensors"))

    class Backbone(torch.nn.Module):
        begin = 0

        def __init__(self) -> None:
            super().__init__()
            self.trunk = AutoModel.from_pretrained(folder, dtype=torch.float32)

        def forward(self, input_ids, attention_mask, position_ids, **_: Any) -> SimpleNamespace:
            states = self.trunk(
                input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
            ).last_hidden_state
            worth = head["values"][input_ids[:, 1:]] * (1 + states[:, :-1] @ head["gate"])  # (N, L - 1)
            counts = attention_mask[:, 1:].bool() & (input_ids[:, 1:] != end)
            counts[:, : self.begin - 1] = False
            so_far = torch.nn.functional.pad((worth * counts).cumsum(1), (1, 0))
            return SimpleNamespace(hidden_states=[((so_far - about["shift"]) / about["scale"])[:, :, None]])

    class RewardFunction(torch.nn.Module):
        base_model_prefix = "backbone"

        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.score = Backbone(), torch.nn.Identity()

    return RewardFunction().requires_grad_(False)


def main() -> None:
    turns = Turns()
    import datasets
    import torch
    import transformers
    import trl
    import trl.experimental.ppo
    from trl.experimental.ppo import ppo_trainer

    given = turns.given
    torch.set_num_threads(given["threads"])
    datasets.disable_progress_bars()
    tokenizer = transformers.AutoTokenizer.from_pretrained(given["model"], padding_side="left")
    tokenizer.add_special_tokens({"pad_token": "<pad>"})  # not one that the model can write
    end = tokenizer.eos_token_id
    reward_model = make_reward_model(given["reward_model"], end)
    model, reference = (
        transformers.AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.float32) for _ in range(2)
    )
    critic = transformers.AutoModelForSequenceClassification.from_pretrained(
        given["model"], num_labels=1, dtype=torch.float32
    )
    generated, reported = ppo_trainer.batch_generation, {}

    def noted(policy: Any, queries: torch.Tensor, *args: Any) -> Any:
        reward_model.backbone.begin = queries.shape[1]
        texts, logits = generated(policy, queries, *args)
        reported["texts"] = [
            [[token for token in text.tolist() if token < given["vocab"]] for text in halves]
            for halves in zip(queries, texts[:, queries.shape[1] :], strict=True)
        ]
        return texts, logits

    class Pause(transformers.TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            reported["kl"] = logs["objective/kl"]

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            turns.done(**reported)

    ppo_trainer.batch_generation = noted
    settings = trl.experimental.ppo.PPOConfig(
        **plain_settings(given),
        num_mini_batches=given["minibatches"],
        total_episodes=given["batch"] * 10**6,
        num_ppo_epochs=given["epochs"],
        response_length=given["response"],
        local_rollout_forward_batch_size=given["batch"],
        temperature=1.0,
        stop_token="eos",
        kl_coef=given["kl_coef"],
        seed=given["seed"],
        num_sample_generations=0,
    )
    trainer = trl.experimental.ppo.PPOTrainer(
        args=settings,
        processing_class=tokenizer,
        model=model,
        ref_model=reference,
        reward_model=reward_model,
        value_model=critic,
        train_dataset=datasets.Dataset.from_dict({"input_ids": given["prompts"]}),
        callbacks=[Pause()],
    )
    prompt, response = given["text"]
    read = torch.tensor([prompt + response])
    reward_model.backbone.begin = len(prompt)
    states = reward_model.backbone(read, torch.ones_like(read), torch.arange(read.shape[1])[None]).hidden_states[-1]
    versions = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    turns.begin({"versions": versions, "score": float(states[0, -1])})
    trainer.train()


if __name__ == "__main__":
    main()
