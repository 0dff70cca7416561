"""docs/benchmarks.md, drawn from runs/reference/.

    python benchmarks/make_page.py

Every figure is read from the JSON that a benchmark wrote, but for the few in PRINTED, whose scripts write none.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
PRINTED = {
    "import": 1.04,  # import_time.py: textrlhf over gymnasium, median of 15
    "first step": 0.8,  # rollout_speed.py: first_step_seconds, median of 9 new processes
    "memory": {"200k": 257.6, "1M": 257.3},  # memory_flat.py: MiB at so many steps
}
HEAD = ("figure", "what", "script", "data")
Row = tuple[str, ...]


def read(name: str) -> Any:
    return json.loads((ROOT / "runs" / "reference" / f"{name}.json").read_text())


def num(value: float, digits: int = 2) -> str:
    """With a true minus, and never −0."""
    return f"{value:z,.{digits}f}".replace("-", "−")


def times(*ratios: float, digits: int = 2) -> str:
    return ", ".join(f"{num(ratio, digits)}×" for ratio in ratios)


def percent(*shares: float, digits: int = 1) -> str:
    return ", ".join(f"{num(100 * share, digits)}%" for share in shares)


def script(name: str) -> str:
    return f"[{name}.py](../benchmarks/{name}.py)"


def data(name: str) -> str:
    return f"[{name.rpartition('/')[2]}.json](../runs/reference/{name}.json)" if name else ""


def rows(name: str, json_name: str, *cells: tuple[str, str]) -> list[Row]:
    """Rows of figure and meaning that one script measured."""
    return [(*cell, script(name), data(json_name)) for cell in cells]


def table(head: Row, body: list[Row]) -> str:
    lines = [head, ("---",) * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(name: str, words: str) -> str:
    path = f"../runs/reference/{name}"
    return (
        "<picture>\n"
        f'  <source media="(prefers-color-scheme: dark)" srcset="{path}-dark.png">\n'
        f'  <img alt="{words}" src="{path}.png" width="800">\n'
        "</picture>"
    )


def section(title: str, *parts: str, notes: tuple[str, ...] = ()) -> str:
    notes_list = ["Notes:\n\n" + "\n".join(f"- {note}" for note in notes)] if notes else []
    return "\n\n".join([f"## {title}", *parts, *notes_list])


def control_vs_sb3() -> str:
    found = read("benchmarks/control_vs_sb3")
    speed, goal = found["a_steps_per_second"], found["b_seconds_to_475"]
    seconds, steps = (
        {side: median(run[key] for run in goal[side]) for side in ("textrlhf", "sb3")} for key in ("seconds", "steps")
    )
    version, name = found["versions"]["stable_baselines3"], "control_vs_sb3"
    body = rows(
        name,
        f"benchmarks/{name}",
        (times(speed["ratio"]), f"environment steps per second, relative to SB3 {version}, same hyperparameters"),
        (
            f"{num(seconds['textrlhf'], 1)} s, SB3 {num(seconds['sb3'], 1)} s",
            "training time until 100 evaluation episodes average 475",
        ),
    )
    return section(
        "CartPole against Stable-Baselines3",
        table(HEAD, body),
        notes=(
            "The first row uses the RL Zoo's hyperparameters on both sides: 8 × 32 steps, 20 epochs, batch size 256; "
            f"median of {len(speed['sb3'])} alternating pairs, one thread each.",
            "The second compares our tuned hyperparameters with the Zoo's; medians over 5 seeds. "
            f"Ours take more environment steps: {steps['textrlhf']:,} against {steps['sb3']:,}.",
        ),
    )


def control_scores() -> str:
    envs = [read(f"control/{name}") for name in ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1")]
    body = [
        (
            f"`{one['env']}`",
            f"{one['total_timesteps']:,}",
            num(one["mean"], 1),
            num(one["worst"], 1),
            num(one["goal"], 0),
            data(f"control/{one['env']}"),
        )
        for one in envs
    ]
    missed = " and ".join(f"`{one['env']}`" for one in envs if one["worst"] < one["goal"])
    return section(
        "Scores on control",
        picture("control/scores", "Return of PPO over environment steps on four control tasks, 5 seeds each"),
        table(("environment", "steps", "return, mean over 5 seeds", "worst seed", "target", "data"), body),
        notes=(
            f"{script('control_scores')}: tuned hyperparameters, deterministic, 100 evaluation episodes per seed.",
            f"The target is for the mean; the worst seed misses it on {missed}.",
        ),
    )


def text_speed() -> str:
    found, grows = read("benchmarks/rollout_speed"), read("benchmarks/rollout_scaling")
    results, name = found["results"], "rollout_speed"
    of = {key: [one[key] for one in results] for key in results[0] if key != "every"}
    contexts = [row["context"] for row in grows["scaling"]]
    slots = max(row["n"] for row in grows["scaling"])
    body = rows(
        name,
        f"benchmarks/{name}",
        (times(*of["ratio_steady"]), "tokens per second, relative to `generate` of transformers"),
        (times(*of["ratio_deferred_steady"]), "the same, ours computing the KL penalty as well"),
        (percent(*of["env_share"]), "share of the time spent in the environment itself"),
    )
    body += rows(
        name,
        "benchmarks/rollout_scaling",
        (
            times(grows["read_mib_grows"], grows["step_ms_grows"], grows["env_ms_grows"], digits=1),
            f"growth of the KV cache, a step, and the environment's part, from context {min(contexts)} "
            f"to {max(contexts):,} with {slots} slots",
        ),
    )
    body += rows(name, "", (f"{PRINTED['first step']} s", '`gym.make("TextRLHF-v0")` and its first step'))
    return section(
        "Speed of the text environment",
        table(HEAD, body),
        notes=(
            f"The first three rows hold for vocabularies of {of['vocab'][0]:,} and {of['vocab'][1]:,} tokens.",
            f"A GPT-2 of 4 layers and width 256, {found['slots']} slots, prompts of 8–32 tokens, the same texts "
            f"of 4–64 tokens on both sides, {found['threads']} threads, medians of {len(results[0]['every'])} runs.",
            "Counted until the last text is finished, while our slots run empty, the ratios are "
            f"{times(*of['ratio'])}, and {times(*of['ratio_deferred'])} with the KL penalty.",
            "The first step is timed after the imports of torch and of the model's class.",
        ),
    )


def ppo_vs_trl() -> str:
    found, name = read("benchmarks/ppo_vs_trl"), "ppo_vs_trl"
    ppo, grpo, bf16 = found["ppo"], found["grpo"], (found["ppo_bf16"], found["grpo_bf16"])
    trl, trl_grpo = (part["versions"]["trl"]["trl"] for part in (ppo, grpo))
    slower = {
        side: [
            part["tokens_per_second"][side] / half["tokens_per_second"][side]
            for part, half in zip((ppo, grpo), bf16, strict=True)
        ]
        for side in ("ours", "trl")
    }
    body = rows(
        name,
        f"benchmarks/{name}",
        (times(ppo["ratio"]), f"tokens per second of PPO, relative to TRL {trl}"),
        (times(ppo["ratio_separate_critic"]), "the same, our critic with a trunk of its own, as TRL's has"),
        (times(ppo["ratio_in_fours"]), "the same, TRL with four gradient accumulation steps"),
        (times(ppo["ratio_separate_critic_in_fours"]), "the same, both: nearest to like with like"),
        (times(found["early"]["ratio"]), "the same as the first row, texts ending after a third of the budget"),
        (times(grpo["ratio"]), f"tokens per second, relative to GRPO of TRL {trl_grpo}, one epoch"),
        (times(*(half["ratio"] for half in bf16)), "PPO and GRPO in bfloat16"),
        (times(ppo["memory_share_of_trl"]), "peak memory of PPO, relative to TRL"),
        (times(ppo["memory_share_separate_critic_in_fours"]), "the same, separate critic and TRL accumulating"),
        (times(grpo["memory_share_of_trl"]), "peak memory, relative to TRL's GRPO"),
        (times(found["rollout"]["ratio"]), "rollout speed, relative to a bare decode loop with a KV cache"),
        (times(found["rollout"]["ratio_with_values"]), "the same, ours computing values as well"),
    )
    return section(
        "Throughput and memory of PPO against TRL",
        table(HEAD, body),
        notes=(
            f"A GPT-2 of {ppo['layers']} layers and width {ppo['width']}, vocabulary {ppo['vocab']:,}, prompts of "
            f"{ppo['prompt']} tokens, responses of {ppo['response']}, {ppo['batch']} texts at a time, 4 epochs, "
            f"float32, {ppo['threads']} threads; medians of {ppo['repetitions']} alternating updates.",
            "Smaller minibatches suit a CPU's cache, hence the rows with gradient accumulation.",
            "GRPO has no critic; ours trains one as well.",
            "The CPU has no bfloat16 instructions. In bfloat16 TRL runs "
            f"{num(min(slower['trl']), 0)} to {num(max(slower['trl']), 0)} times slower than in float32, ours "
            f"{num(mean(slower['ours']), 0)} times; TRL's PPO samples in float32 even then. One repetition.",
            "Memory is the peak above what the imports take.",
        ),
    )


def learning_vs_trl() -> str:
    found, name = read("benchmarks/learning_vs_trl"), "learning_vs_trl"
    before = found["pass_before"]
    ours, trl, ours_before, trl_before = (
        f"{num(median(some['seconds'][side]), 1)} s" for some in (found, before) for side in ("ours", "trl")
    )
    body = rows(
        name,
        f"benchmarks/{name}",
        (f"{ours}, TRL {trl}", f"training time of PPO to a true score of {found['gold']} ({times(found['ratio'])})"),
        (times(found["ratio_two_epochs"]), "TRL's time relative to ours, TRL with 2 epochs instead of 4"),
        (times(found["ratio_as_ours"]), "the same, TRL with 1 epoch of 4 minibatches, as ours"),
        (
            f"{ours_before}, TRL {trl_before}",
            f"the first row in an earlier pass ({times(before['ratio'])}): the machine is noisy",
        ),
    )
    return section(
        "Learning time against TRL",
        picture(f"benchmarks/{name}", "True score over seconds of updates, textrlhf and three settings of TRL's PPO"),
        table(HEAD, body),
        notes=(
            f"`TextRLHF-v0` with the shipped model and reward model, at a KL of at most {num(found['kl_at_most'], 0)} "
            "nats per text; the best of three learning rates on each side, medians over 3 seeds.",
            "Our rollout length and epochs were chosen on this task; TRL was run with its defaults and two shorter "
            "schedules.",
            "Our seconds include computing the true score; TRL's do not.",
        ),
    )


def reward_models() -> str:
    scores, trl = read("reward_models/scores"), read("benchmarks/reward_vs_trl")
    critics = read("benchmarks/critics")["explained_variance"]
    goals, train, of = scores["goals"], trl["training"], scores["means"]
    full, more = "4,000 pairs", "4,000 pairs, pretrained"

    def accuracy(*names: str) -> str:
        return percent(*(of[name]["accuracy"] for name in names))

    body = rows(
        "reward_scores",
        "reward_models/scores",
        (accuracy(full), "accuracy after 4,000 comparisons, one in ten mislabelled"),
        (accuracy(f"{full}: ensemble of four"), "the same, an ensemble of four"),
        (accuracy(f"{full}: distilled from the four"), "the same, one model distilled from the four"),
        (
            accuracy(more, f"{more}: ensemble of four", f"{more}: distilled from the four"),
            "the last three with pseudo-labels on unlabelled texts first",
        ),
        (accuracy(f"counting words, {full}"), "word counts with negations, 4,000 comparisons"),
        (accuracy("500 pairs", "counting words, 500 pairs"), "500 comparisons: reward model, word counts"),
        (
            accuracy("pairs for 1,000 prompts", "rankings of 4 for 1,000 prompts"),
            "1,000 prompts: two responses ranked, four responses ranked",
        ),
        (num(of[full]["correlation"], 3), "correlation with the true score, 4,000 comparisons"),
        (num(of[full]["ece"], 3), "expected calibration error against labels as noisy, 4,000 comparisons"),
    )
    body += rows(
        "reward_vs_trl",
        "benchmarks/reward_vs_trl",
        (
            times(train["ratio"]),
            f"training tokens per second, relative to RewardTrainer of TRL {trl['versions']['trl']}",
        ),
        (times(train["ratio_in_fours"]), "the same, TRL with gradient accumulation, four pairs at a time"),
        (times(trl["scoring"]["ratio"]), "texts scored per second, relative to a bare forward pass"),
    )
    body += rows(
        "critics",
        "benchmarks/critics",
        (
            percent(*(by_size["4000"] for by_size in critics.values())),
            "score variance a linear critic explains from the last layer, three layers, and three layers with sums",
        ),
    )
    missed = f"{percent(goals[full], digits=0)} for one model after 4,000 comparisons and {{}} for an ensemble"
    return section(
        "Reward models",
        picture("reward_models/scores", "Accuracy of reward models by number and kind of comparisons, 5 seeds each"),
        table(HEAD, body),
        notes=(
            "Accuracy on 5,000 held-out pairs of `reviews` against the true score, ties left out; means over 5 seeds.",
            "At 500 comparisons, counting words is the better reward model.",
            f"Targets were {missed.format(percent(goals[f'{full}: ensemble of four'], digits=0))}: "
            "the first is met only with unlabelled texts, the second is not met.",
            f"TRL: a GPT-2 of {trl['layers']} layers and width {trl['width']}, {trl['batch']} pairs per step, the same "
            f"batches, float32, one thread, medians of {trl['repetitions']}.",
            "Last row: learned from 4,000 texts, measured on 1,000 others. Our critic has the last of these inputs.",
        ),
    )


def text_scores() -> str:
    found = {name: read(f"text/{name}") for name in ("reviews", "reviews-gold", "dialogue", "qa", "arithmetic")}

    def after(name: str, key: str) -> list[float]:
        return [run["after"][key] for run in found[name]["runs"]]

    measures = {
        "reviews": "true sentiment, −1 to 1",
        "reviews-gold": "the same, PPO rewarded with it",
        "dialogue": "customers who buy",
        "qa": "right answers",
        "arithmetic": "right answers",
    }
    body = [
        (
            f"`{one['env']}`",
            measures[name],
            f"{one['total_timesteps']:,}",
            f"{num(one['gold_before'], 3)} → {num(one['gold'], 3)}",
            num(one["worst"], 3),
            num(mean(after(name, "kl")), 1),
            data(f"text/{name}"),
        )
        for name, one in found.items()
    ]
    reviews, arithmetic = found["reviews"]["runs"], found["arithmetic"]
    grammar = [mean(run[when]["grammatical"] for run in reviews) for when in ("before", "after")]
    seconds = [run["processor_seconds"] for run in reviews]
    seen = " → ".join(num(value, 3) for value in arithmetic["training_prompts"])
    return section(
        "Scores on text",
        picture("text/scores", "True score over training tokens on four text tasks, 5 seeds each"),
        picture("text/kl", "True score over KL to the reference model on four text tasks, mean over 5 seeds"),
        table(("environment", "true score", "tokens", "mean over 5 seeds", "worst seed", "KL", "data"), body),
        notes=(
            f"{script('text_scores')}: 500 sampled texts for held-out prompts per seed; KL in nats per text.",
            f"Grammatical share of the reviews: {num(grammar[0])} → {num(grammar[1])}, worst seed "
            f"{num(min(after('reviews', 'grammatical')), 3)}; training takes {min(seconds)} to {max(seconds)} "
            "processor seconds.",
            "The reviews use the shipped model. The other tasks start from a new model that has seen 300 dialogues, "
            "2,000 answers and 4,000 answers respectively.",
            f"Arithmetic generalises little: {seen} on training prompts.",
            "Rows two and four were measured with an earlier critic, row two also with a different KL penalty and no "
            "penalty for a missing end of text.",
        ),
    )


def footprint() -> str:
    memory = PRINTED["memory"]
    body = rows(
        "import_time", "", (times(PRINTED["import"]), "time of `import textrlhf`, relative to `import gymnasium`")
    )
    body += rows(
        "memory_flat",
        "",
        (f"{memory['200k']} MiB, {memory['1M']} MiB", "resident memory of a run at 200,000 and at 1M steps"),
    )
    return section("Import and memory", table(HEAD, body))


def page() -> str:
    """The whole page."""
    opening = (
        "# Benchmarks\n\n"
        "Measured on 2 shared CPU cores. A speed ratio above 1× means that textrlhf is faster, a memory ratio\n"
        "below 1× that it needs less. Ratios and times are medians.\n\n"
        "The true score is what a task knows about a text and a reward model has to learn (`gold` in the metrics).\n"
        "Each script says at its top exactly what it measures. This page is made from "
        "[runs/reference](../runs/reference) by\n"
        "[make_page.py](../benchmarks/make_page.py); change the data or the script, not the page."
    )
    parts = (control_vs_sb3, control_scores, text_speed, ppo_vs_trl, learning_vs_trl, reward_models, text_scores)
    return "\n\n".join([opening, *(part() for part in parts), footprint()]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
