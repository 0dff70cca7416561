"""The commands on a text environment: train, samples, write, loading the model in transformers."""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
from pathlib import Path

import gymnasium as gym
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from textrlhf.agents.settings.config import LANGUAGE_MODEL, tuned_settings
from textrlhf.envs.registration import TEXT_ENVS
from textrlhf.language import load
from textrlhf.language.learning_rate import fine_tuning_rate
from textrlhf.pipeline.commands.main import main
from textrlhf.pipeline.commands.train import parse_options
from textrlhf.pipeline.console.errors import UserError
from textrlhf.pipeline.runs.fine_tuning import fine_tuning
from textrlhf.pipeline.runs.run_report import learning
from textrlhf.records.metrics import read_metrics
from textrlhf.records.samples import read_samples
from textrlhf.reward_models import RewardFunctionError

pytestmark = pytest.mark.slow

QUICK = shlex.split("--env TextRLHF-v0 --n-envs 16 --n-steps 32 --n-epochs 1 --seed 0 --evaluation-episodes 16")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on text."""
    folder = tmp_path_factory.mktemp("runs") / "text"
    main(["train", *QUICK, "--steps", "1024", "--run", f"{folder}", "--kl-target", "3", "--quiet"])
    return folder


def test_metrics(run: Path) -> None:
    last = read_metrics(run / "metrics.jsonl")[-1]
    names = {"return", "length", "score", "gold", "grammatical", "kl", "eos"}
    assert {f"rollout/{name}" for name in names} <= last.keys()
    assert -1 < last["rollout/kl"] < 20
    assert 0.5 < last["rollout/eos"] <= 1
    assert last["train/kl_coef"] != 0.05  # --kl-target moves it
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["deterministic"] is False
    assert {"mean_gold", "mean_score", "mean_kl"} <= evaluation.keys()


def test_another_kl_penalty_when_resumed(run: Path, tmp_path: Path) -> None:
    """Of the environment and of the callback that has adapted it since; both are stored."""
    again = tmp_path / "run"
    shutil.copytree(run, again)
    main(["resume", f"{again}", "--steps", "+512", "--kl-coef", "0.7", "--kl-target", "100", "--quiet"])
    config = json.loads((again / "config.json").read_text())
    assert config["env"]["kwargs"]["kl_coef"] == 0.7
    assert json.loads((again / "command.json").read_text())["kl_target"] == 100
    rows = read_metrics(again / "metrics.jsonl")
    assert rows[-1]["step"] == 1536
    assert 0.6 < rows[-1]["train/kl_coef"] < 0.7  # lowered towards the higher target
    main(["resume", f"{again}", "--steps", "+512", "--quiet"])
    assert 0.5 < read_metrics(again / "metrics.jsonl")[-1]["train/kl_coef"] < rows[-1]["train/kl_coef"]
    with pytest.raises(SystemExit):
        main(["resume", f"{again}", "--steps", "+512", "--kl-coef", "0", "--kl-target", "1"])


def test_samples_have_the_same_prompts(run: Path) -> None:
    samples = read_samples(run / "samples.jsonl")
    by_step: dict[int, list[str]] = {}
    for sample in samples:
        by_step.setdefault(sample["step"], []).append(sample["prompt"])
        assert {"response", "score", "gold", "kl"} <= sample.keys()
    assert min(by_step) == 0
    assert max(by_step) == 1024
    assert len(set(map(tuple, by_step.values()))) == 1


def test_charts(run: Path) -> None:
    for name in ("curves.png", "frontier.png"):
        assert (run / name).read_bytes().startswith(b"\x89PNG")


def test_model_loads_in_transformers(run: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(run / "model")
    assert AutoTokenizer.from_pretrained(run / "model").eos_token is not None
    before = load("reviews", "cpu").model.state_dict()
    assert any(not weight.equal(before[name]) for name, weight in model.state_dict().items())


def test_write(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["write", "The film was", "--run", f"{run}", "-n", "3", "--reward-model", "reviews"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r"The film was .*  \[[+-]\d\.\d\d\]", line) for line in lines)
    assert len(set(lines)) == 3
    main(["write", "The film was", "--model", "reviews", "--temperature", "0", "-n", "2", "--max-new-tokens", "3"])
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_profile(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run, with other settings, and of a model; the run stays as it is."""
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*")}
    few = shlex.split("--n-steps 8 --n-epochs 1 --updates 1 --json")
    main(["profile", f"{run}", *few])
    main(["profile", "--model", "reviews", "--n-envs", "16", *few])
    for line in capsys.readouterr().out.splitlines():
        found = json.loads(line)
        assert (found["env"], found["n_envs"], found["steps"]) == ("TextRLHF-v0", 16, 16 * 8)
        assert set(found["shares"]) >= {"acting", "environment", "values", "update"}
        assert all(sum(shares.values()) == pytest.approx(1) for shares in found["shares"].values())
    main(["profile", f"{run}", *few[:-1]])
    assert re.search(r"matrix products( +\d+%){4}", capsys.readouterr().out)
    assert before == {file: file.stat().st_mtime_ns for file in run.rglob("*")}


def test_evaluate_says_what_train_said(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It took the most likely tokens after training prompts, where train had sampled after held-out ones."""
    stored = json.loads((run / "evaluation.json").read_text())
    assert stored["split"] == "heldout"
    main(["evaluate", f"{run}", "--episodes", "16", "--json"])
    found = json.loads(capsys.readouterr().out)
    del found["checkpoint"]
    assert found == stored
    main(["evaluate", f"{run}", "--episodes", "16"])
    said = capsys.readouterr().out
    assert re.search(r"Evaluation +score .*, KL .* \(means of 16 sampled texts, held-out prompts\)", said)
    main(["evaluate", f"{run}", "--episodes", "8", "--deterministic", "--split", "train"])
    said = capsys.readouterr().out
    assert "(means of 8 greedy texts, training prompts)" in said
    assert "KL" not in said


REWARDS = """
def broken(prompts, responses):
    return [1 / 0]


def brevity(prompts, responses):
    return [-0.1 * len(response.split()) for response in responses]
"""


def test_a_reward_function_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such a run lost its environment: no samples, no frontier, no evaluation, no resuming."""
    (tmp_path / "my_rewards.py").write_text(REWARDS)
    rows = [
        {"prompt": f"{the} {noun} was"} for the in ("The", "This") for noun in ("film", "plot", "cast", "hero", "inn")
    ]
    (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    own = shlex.split("--model reviews --prompts mine.jsonl --kl-coef 0.1 --reward-model")
    with pytest.raises(SystemExit):
        main(["train", *QUICK, *own, "my_rewards:broken", "--steps", "512", "--run", "broken"])
    assert "ZeroDivisionError" in (said := capsys.readouterr().err)
    assert said.count("\n") == 1
    own.append("my_rewards:brevity")
    main(["train", *QUICK, *own, "--steps", "512", "--run", "run"])
    said = capsys.readouterr().out
    assert "defaults for language models except n_envs=16, n_epochs=1, n_steps=32" in said
    assert "held-out prompts" in said
    recipe = json.loads(Path("run/config.json").read_text())["env"]
    assert recipe["kwargs"]["reward_model"] == {"import": "my_rewards:brevity"}
    assert (recipe["kwargs"]["kl_coef"], recipe["kwargs"]["prompts"]) == (0.1, str(tmp_path / "mine.jsonl"))
    assert read_samples("run/samples.jsonl")
    assert Path("run/frontier.png").exists()
    with pytest.raises(SystemExit):
        main(["evaluate", "run"])
    assert "imports my_rewards:brevity" in capsys.readouterr().err
    main(["evaluate", "run", "--trust", "--episodes", "16", "--json"])
    found = json.loads(capsys.readouterr().out)
    del found["checkpoint"]
    assert found == json.loads(Path("run/evaluation.json").read_text())
    main(["resume", "run", "--trust", "--steps", "+256", "--quiet"])
    assert read_metrics("run/metrics.jsonl")[-1]["step"] == 1024
    main(["watch", "run", "--trust"])
    assert re.search(r"Episode 1: return -\d", capsys.readouterr().out)
    main(["write", "The film was", "--run", "run", "--reward-model", "my_rewards:brevity"])
    assert re.search(r"\[-\d", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("'The film was' --run nowhere", "there is no folder nowhere"),
        ("'The film was' --model reviews -n 0", "--n 0: accepted is at least 1"),
        ("'The film was' --run killed", "killed has no language model yet: .* finish it with `textrlhf resume killed`"),
        ("'' --model reviews", "has no tokens"),
        ("'The zyzzyva was' --model reviews", "has words that .* does not know"),
        ("'The film was' --model reviews --max-new-tokens 500", "more than the 64 positions"),
        ("'The film was' --model reviews --temperature -1", "temperature is -1"),
        ("'The film was' --model reviews --reward-model nobody-here/at-all", "nobody-here/at-all"),
    ],
)
def test_mistakes(
    line: str, remedy: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    (tmp_path / "killed" / "checkpoints" / "step-0000000001").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SystemExit) as end:
        main(["write", *shlex.split(line)])
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert re.search(remedy, message), message


def test_hyperparameters_of_other_models() -> None:
    """The tuned learning rate of the shipped model is too high for GPT-2."""
    shipped = tuned_settings("ppo")["TextRLHF-v0"].hyperparameters["learning_rate"]
    careful = tuned_settings("ppo")[LANGUAGE_MODEL].hyperparameters
    _, config = parse_options(["--env", "TextRLHF-v0"])
    assert config.learning_rate == shipped  # type: ignore[attr-defined]
    for env in TEXT_ENVS:
        for model in (["--model", "gpt2"], ["--env-kwargs", '{"model": "gpt2"}']):
            _, config = parse_options(["--env", env, *model])
            assert "learning_rate" not in config.given  # it will be by the model's size
            assert {name: getattr(config, name) for name in careful} == careful
    _, config = parse_options(["--env", "TextQA-v0", "--agent", "clone", "--demonstrations", "some.jsonl"])
    assert config.warmup == tuned_settings("clone")[LANGUAGE_MODEL].hyperparameters["warmup"]  # type: ignore[attr-defined]


def test_hyperparameters_of_an_environment_without_tuned_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against the defaults of control for a registered text environment."""
    monkeypatch.setitem(gym.registry, "Mine-v0", copy.deepcopy(gym.spec("TextRLHF-v0")))
    gym.registry["Mine-v0"].name = "Mine"
    gym.registry["Mine-v0"].id = "Mine-v0"
    line = "--env Mine-v0 --n-envs 4 --n-steps 8 --steps 64 --seed 1 --evaluation-episodes 4 --quiet"
    main(["train", *shlex.split(line), "--run", str(tmp_path / "run")])
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert config["learning_rate"] == fine_tuning_rate(load("reviews").model)
    assert (config["n_envs"], config["n_steps"], config["seed"]) == (4, 8, 1)


def test_supervised_fine_tuning_needs_no_reward_model(tmp_path: Path) -> None:
    """Guards against samples of the built-in reviews, with their score, for the user's own model and texts."""
    demos, run = tmp_path / "demos.jsonl", tmp_path / "run"
    rows = [{"prompt": f"The {noun} was", "completion": " good."} for noun in ("soup", "tea")]
    demos.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mine = str(load("reviews").save(tmp_path / "mine").name)
    line = (
        f"--agent clone --env TextRLHF-v0 --demonstrations {demos} --steps 8 --seed 0 --evaluation-episodes 4 --quiet"
    )
    main(["train", *shlex.split(line), "--model", mine, "--run", str(run)])
    samples = read_samples(run / "samples.jsonl")
    assert {sample["prompt"] for sample in samples} == {row["prompt"] for row in rows}
    assert not any("score" in sample for sample in samples)
    assert "mean_score" not in json.loads((run / "evaluation.json").read_text())


def test_arguments_of_the_user_are_kept_in_fine_tuning() -> None:
    for given in ({}, {"task": "qa", "model": "m"}, {"model": "m", "reward_model": "gold"}):
        assert fine_tuning("clone", "TextRLHF-v0", given, "demos.jsonl") == given
    assert fine_tuning("ppo", "TextRLHF-v0", {"model": "m"}, None) == {"model": "m"}
    found = fine_tuning("clone", "TextRLHF-v0", {"model": "m", "prompts": "mine.jsonl"}, "demos.jsonl")
    assert found == {"model": "m", "prompts": "mine.jsonl", "reward_model": "none"}


def test_a_failing_reward_model_is_one_line(tmp_path: Path) -> None:
    """Guards against a traceback for a text that the reward model cannot read."""
    with pytest.raises(UserError, match="^reward_model raised ValueError: too long"), learning(tmp_path):
        raise RewardFunctionError("reward_model raised ValueError: too long")
