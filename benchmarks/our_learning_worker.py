"""Our side of learning_vs_trl.py, which starts it: PPO on the shipped model, by the shipped reward model."""

from __future__ import annotations

from collections import deque

from trl_ppo_worker import Turns


def main() -> None:
    """Learn, one update at a time."""
    turns = Turns()
    import torch

    import textrlhf
    from textrlhf.agents import PPO, Callback
    from textrlhf.language import load
    from textrlhf.reward_models import RewardModel

    given = turns.given
    torch.set_num_threads(given["threads"])
    reward_model = RewardModel.load(given["reward_model"], device="cpu")
    agent = PPO.tuned(
        "TextRLHF-v0",
        env_kwargs={
            "reward_model": reward_model,
            "kl_coef": given["kl_coef"],
            "credit": given["credit"],
            "missing_eos_penalty": 0.0,
            "device": "cpu",
        },
        n_steps=32,
        batch_size=512,
        n_epochs=1,
        learning_rate=given["learning_rate"],
        lr_schedule="constant",
        torch_threads=given["threads"],
        device="cpu",
        seed=given["seed"],
    )
    agent.episodes.recent = deque(maxlen=1000)

    class Pause(Callback):
        finished = 0

        def on_update(self, agent, metrics) -> bool:
            recent = list(agent.episodes.recent)
            new = recent[len(recent) - (agent.episodes.finished - self.finished) :]
            self.finished = agent.episodes.finished
            turns.done(**{name: [text[name] for text in new] for name in ("gold", "kl")})
            return True

    lm = load(given["model"], "cpu")
    prompt, response = given["text"]
    score = reward_model([lm.continuation([], prompt)], [lm.continuation(prompt, response)])
    turns.begin({"versions": {"textrlhf": textrlhf.__version__, "torch": torch.__version__}, "score": float(score[0])})
    agent.learn(1 << 40, callbacks=[Pause()], progress=False)


if __name__ == "__main__":
    main()
