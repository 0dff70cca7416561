"""The commands of agents, called as a shell would call them but inside this process."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from textrlhf.agents import PPO, Callback, PPOConfig
from textrlhf.agents.policies import MLPPolicy
from textrlhf.agents.settings.config import tuned_settings
from textrlhf.pipeline.commands import play
from textrlhf.pipeline.commands.main import COMMANDS, main
from textrlhf.pipeline.commands.train import parse_options
from textrlhf.pipeline.runs import run_report
from textrlhf.pipeline.runs.run_folder import Request, read_request
from textrlhf.pipeline.runs.run_report import evaluated, scores_of
from textrlhf.records.checkpoint import CheckpointError
from textrlhf.records.metrics import read_metrics
from textrlhf.records.run import Run

pytestmark = pytest.mark.slow

QUICK = shlex.split("--env CartPole-v1 --n-envs 4 --n-steps 32 --n-epochs 1 --seed 0 --evaluation-episodes 2")
LAKE = shlex.split("--env FrozenLake-v1 --n-envs 2 --n-steps 16 --n-epochs 1 --seed 0 --evaluation-episodes 2")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs in it: `pole` (with a best agent) and `lake`."""
    folder = tmp_path_factory.mktemp("runs")
    pole = ["--run", f"{folder / 'pole'}", "--steps", "1024", "--checkpoint-every", "256", "--evaluate-every", "512"]
    main(["train", *QUICK, *pole, "--quiet"])
    main(["train", *LAKE, "--run", f"{folder / 'lake'}", "--steps", "64", "--quiet"])
    return folder


@pytest.fixture(autouse=True)
def no_charts(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the shared runs have charts: drawing takes half the time of these tests."""
    monkeypatch.setattr("textrlhf.agents.training.loop.draw_curves", lambda *args: None)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must end with status 2 and one line, and return the line."""

    def run(*argv: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(argv)
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith("textrlhf: ")
        assert said.count("\n") == 1
        return said

    return run


def test_train_writes_a_run(runs: Path) -> None:
    run = runs / "pole"
    config = json.loads((run / "config.json").read_text())
    assert config["agent"] == "ppo"
    assert config["env"]["id"] == "CartPole-v1"
    assert config["config"]["n_epochs"] == 1
    assert read_metrics(run / "metrics.jsonl")[-1]["step"] == 1024
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in (run / "checkpoints").iterdir())[-1] == "step-0000001024"
    assert (run / "best" / "state.json").exists()
    assert json.loads((run / "evaluation.json").read_text())["episodes"] == 2


def test_output_of_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "a"
    main(["train", *QUICK, "--steps", "256", "--run", f"{run}"])
    said = capsys.readouterr().out
    assert "PPO on CartPole-v1: 256 steps, seed 0, tuned hyperparameters except n_envs=4, n_epochs=1" in said
    assert re.search(r"Evaluation +\d+\.\d ± \d+\.\d over 2 episodes", said)
    for path in (run, run / "curves.png", run / "checkpoints"):
        assert str(path) in said
    assert f"textrlhf watch {run}" in said
    assert "[" not in said.split("Try next")[1]  # no markup or escape codes


def test_tuned_hyperparameters_are_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few = shlex.split("--env CartPole-v1 --steps 64 --n-envs 2 --seed 7 --evaluation-episodes 1 --quiet")
    main(["train", *few, "--gae-lambda", "0.5"])
    tuned = json.loads(Path("runs/cartpole-v1-ppo-7/config.json").read_text())["config"]
    kept = tuned_settings("ppo")["CartPole-v1"].hyperparameters
    assert (tuned["gamma"], tuned["learning_rate"], tuned["gae_lambda"]) == (kept["gamma"], kept["learning_rate"], 0.5)
    _, plain = parse_options([*few, "--no-tuned"])
    assert plain == PPOConfig(n_envs=2, seed=7)
    assert parse_options(["--env", "CartPole-v1"])[0].steps == tuned_settings("ppo")["CartPole-v1"].total_timesteps


def test_policy_by_its_name() -> None:
    """Since it may also be a class, --policy accepted nothing but "auto"."""
    for given in ("gru", "textrlhf.agents.policies:MLPPolicy"):
        _, config = parse_options(["--env", "CartPole-v1", "--policy", given])
        assert config.policy == (MLPPolicy if ":" in given else "gru")  # type: ignore[attr-defined]


def test_a_policy_of_ones_own_needs_trust(
    own_module: Callable[[], None], capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    main(["train", *QUICK, "--policy", "my_worlds:Policy", "--steps", "128", "--run", "own"])
    assert "textrlhf evaluate own --stochastic --trust" in capsys.readouterr().out
    assert "my_worlds:Policy" in refused("evaluate", "own")
    main(["evaluate", "own", "--episodes", "2", "--trust"])
    assert "Evaluation" in capsys.readouterr().out


def test_env_kwargs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "dry"
    main(["train", *LAKE, "--steps", "64", "--env-kwargs", '{"is_slippery": false}', "--run", f"{run}", "--quiet"])
    assert json.loads((run / "config.json").read_text())["env"]["kwargs"]["is_slippery"] is False
    capsys.readouterr()
    main(["evaluate", f"{run}", "--episodes", "3", "--json"])
    assert json.loads(capsys.readouterr().out)["std"] == 0  # the environment and the agent are deterministic


class Interrupt(Callback):
    """Ctrl-C at a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_update(self, agent: object, metrics: dict[str, float]) -> bool:
        if agent.num_timesteps >= self.step:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return True


def test_resumed_run_equals_an_uninterrupted_one(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "pole"
    argv = ["--run", f"{run}", "--steps", "1024", "--checkpoint-every", "256", "--evaluate-every", "512", "--quiet"]
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(Request, "callbacks", lambda self, real=Request.callbacks: [*real(self), Interrupt(896)])
        main(["train", *QUICK, *argv])
    assert end.value.code == 130
    assert f"`textrlhf resume {run}`" in capsys.readouterr().err
    main(["resume", f"{run}"])
    said = capsys.readouterr().out
    assert f"{run} resumes from step 768 of 1,024" in said
    assert "Evaluation" in said
    for part in ("checkpoints/step-0000001024", "best"):
        for file in ("model.safetensors", "optimizer.safetensors"):
            assert (run / part / file).read_bytes() == (runs / "pole" / part / file).read_bytes()
    whole, again = (read_metrics(folder / "metrics.jsonl") for folder in (runs / "pole", run))
    timeless = [
        [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows] for rows in (whole, again)
    ]
    assert timeless[0] == timeless[1]
    assert (run / "evaluation.json").read_text() == (runs / "pole" / "evaluation.json").read_text()


def test_resume_a_finished_run(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["resume", f"{runs / 'pole'}"])
    assert "is finished: all of its 1,024 steps are done." in capsys.readouterr().out


def test_resume_with_other_settings(runs: Path, tmp_path: Path, refused: Callable[..., str], caplog) -> None:
    """`resume has no option --learning-rate`: the only way lost the optimiser's state."""
    run = tmp_path / "pole"
    shutil.copytree(runs / "pole", run)
    assert "at step 1,024 of 1,024; accepted is a later step, or +N" in refused("resume", f"{run}", "--steps", "1000")
    assert "accepted is a step to train to, or +N" in refused("resume", f"{run}", "--steps", "many")
    assert "--net-arch cannot be changed on resume" in refused("resume", f"{run}", "--net-arch", "8")
    assert "did you mean --learning-rate?" in refused("resume", f"{run}", "--learning-rat", "1e-5")
    assert "there is no folder" in refused("resume", f"{run}x", "--learning-rate", "1e-5")
    assert "CartPole-v1 has no KL penalty" in refused("resume", f"{run}", "--steps", "+1", "--kl-target", "3")
    assert "a run keeps what it was started with" in refused("resume", f"{run}", "--stop-at", "3")
    kept = refused("resume", f"{run}", "--sutton-barto-reward", "True")
    assert f"Agent.resume('{run}', env_kwargs={{'sutton_barto_reward': True}})" in kept
    main(["resume", "--quiet", f"{run}", "--steps", "+128", "--learning-rate", "1e-5"])
    main(["resume", f"{run}", "--steps", "1280", "--quiet"])
    config = json.loads((run / "config.json").read_text())["config"]
    assert (config["learning_rate"], config["n_steps"]) == (1e-5, 32)
    assert json.loads((run / "evaluation.json").read_text())["step"] == 1280
    assert read_request(run).steps == 1280
    assert "not bit-identical to an uninterrupted run: learning_rate=1e-05, trained to step " in caplog.text


def test_a_run_killed_before_its_first_checkpoint(tmp_path: Path, refused: Callable[..., str]) -> None:
    """`neither a run nor a checkpoint`: every command says what it is, and the same run can be started again."""
    run = tmp_path / "run"

    def killed(agent: PPO, metrics: dict[str, float]) -> None:
        if agent.num_timesteps == 256:
            raise RuntimeError

    def begin(*callbacks: Callable[..., None]) -> None:
        agent = PPO("CartPole-v1", n_envs=4, n_steps=32, n_epochs=1, seed=0, checkpoint_every=500)
        agent.learn(1024, run=run, callbacks=callbacks, progress=False)

    with pytest.raises(RuntimeError):
        begin(killed)
    told = f"{run} has no checkpoint yet: the first is due at step 500, and its metrics end at step 128. If it was"
    for command in ("resume", "evaluate", "watch", "profile", "chat"):
        assert told in refused(command, f"{run}")
    assert told in refused("write", "a", "--run", f"{run}")
    for function in (PPO.load, PPO.resume):
        with pytest.raises(CheckpointError, match=re.escape(told)):
            function(run)
    begin()
    assert PPO.load(run).num_timesteps == 1024


def test_resume_to_an_earlier_step_than_planned(tmp_path: Path, refused: Callable[..., str]) -> None:
    agent = PPO("CartPole-v1", n_envs=4, n_steps=32, n_epochs=1, seed=0)
    agent.learn(1024, run=tmp_path / "run", callbacks=StopSoon(), progress=False)
    agent.close()
    assert "at step 128 of 1,024; accepted is a later step" in refused(
        "resume", f"{tmp_path / 'run'}", "--steps", "128"
    )
    with pytest.raises(ValueError, match="the run has done 128 steps; accepted is a number that lets it end"):
        PPO.resume(tmp_path / "run", more_timesteps=-1000)
    main(["resume", f"{tmp_path / 'run'}", "--steps", "300", "--quiet"])
    assert PPO.load(tmp_path / "run").plan.end == 300
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 384  # the end of the update that passes it


def test_resume_imports_code_only_with_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    source = "import gymnasium as gym\n\ndef short():\n    return gym.make('CartPole-v1', max_episode_steps=9)\n"
    (tmp_path / "own_envs.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    run = f"{tmp_path / 'run'}"
    PPO("own_envs:short", n_envs=2, n_steps=16, seed=0).learn(64, run=run, progress=False)
    assert "imports own_envs:short: if you trust that code" in refused("resume", run, "--steps", "+32")
    main(["resume", run, "--steps", "+32", "--trust", "--quiet"])
    assert PPO.load(run, trust=True).num_timesteps == 96


def test_places_that_cannot_be_written_are_one_line(
    runs: Path, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracebacks from the command: read-only folder, full disk, two starts at once."""
    train = ["train", *QUICK, "--steps", "128", "--quiet", "--run"]
    (tmp_path / "file").touch()
    assert "Not a directory: name another folder" in refused(*train, f"{tmp_path / 'file' / 'run'}")
    with Run(tmp_path / "taken").writing():
        assert "is in use: process" in refused(*train, f"{tmp_path / 'taken'}")
    assert [path.name for path in (tmp_path / "taken").iterdir()] == [".lock"]
    for number, remedy in ((errno.ENOSPC, "free some space"), (errno.EROFS, "or name another folder")):

        def fails(descriptor: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fails)
            run = tmp_path / str(number)
            said = refused(*train, f"{run}")
        assert f"{run / 'command.json'}: {os.strerror(number)}: " in said
        assert remedy in said
        assert [path.name for path in run.iterdir()] == [".lock"]
    Request(command="reward train", env="", steps=1).save(tmp_path / "reward")
    assert "already holds a run" in refused(*train, f"{tmp_path / 'reward'}")


def test_stop_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "early"
    early = ["--steps", "1024", "--evaluate-every", "256", "--stop-at", "5", "--run", f"{run}"]
    main(["train", *QUICK, *early])
    assert "Stopped at step 256 of 1,024: --stop-at 5.0 was reached." in capsys.readouterr().out
    main(["resume", f"{run}"])
    assert "is finished: it reached --stop-at 5.0 at step 256" in capsys.readouterr().out
    main(["resume", f"{run}", "--ignore-stop-at", "--quiet"])
    assert json.loads((run / "evaluation.json").read_text())["step"] == 1024


def test_resume_a_run_from_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = PPO("CartPole-v1", n_envs=4, n_steps=32, n_epochs=1, seed=0)
    run = tmp_path / "python"
    agent.learn(512, run=run, callbacks=StopSoon(), progress=False)
    agent.close()
    main(["resume", f"{run}"])
    said = capsys.readouterr().out
    assert "started from Python with callbacks" in said
    assert "resumes from step 128 of 512" in said


class StopSoon(Callback):
    def on_update(self, agent: object, metrics: dict[str, float]) -> bool:
        return False


def test_evaluate(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", f"{runs / 'pole'}", "--episodes", "4", "--stochastic"])
    said = capsys.readouterr().out
    assert said.startswith("evaluating 4 episodes\n")  # which takes minutes with a language model
    assert re.search(r"Evaluation +\d+\.\d ± \d+\.\d over 4 episodes \(worst \d+\.\d, best \d+\.\d\)", said)
    assert "step-0000001024" in said
    assert "sampled" in said


def test_evaluate_as_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", f"{runs / 'pole'}", "--episodes", "2", "--json"])
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    result = json.loads(said)
    assert result.pop("checkpoint").endswith("step-0000001024")
    assert result == json.loads((runs / "pole" / "evaluation.json").read_text())


def test_evaluate_the_best_or_any_checkpoint(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for argv in ([f"{runs / 'pole'}", "--best"], [f"{runs / 'pole' / 'best'}"]):
        main(["evaluate", *argv, "--episodes", "2", "--json"])
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]
    assert found[0]["checkpoint"] == str(runs / "pole" / "best")


def test_watch_as_text(runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "has_display", lambda: False)
    main(["watch", f"{runs / 'lake'}", "--episodes", "2"])
    said = capsys.readouterr().out
    steps = [int(n) for n in re.findall(r"Episode \d: return [\d.]+ in (\d+) steps", said)]
    assert len(steps) == 2
    frames = re.sub(r"\x1b\[\d+m", "", said).count("HFFG")
    assert frames == sum(steps) + 2  # every step, and the start of each episode


def test_watch_needs_a_display(runs: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    said = refused("watch", f"{runs / 'pole'}")
    assert "no display" in said
    assert "gymnasium[classic-control]" in said


def test_watch_in_an_invisible_window(runs: Path) -> None:
    pytest.importorskip("pygame")
    # A process of its own: pygame warns on import and keeps its video driver.
    said = subprocess.run(
        [sys.executable, "-m", "textrlhf", "watch", f"{runs / 'pole'}"],
        env={**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"},
        cwd=runs,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.returncode == 0, said.stderr
    assert re.search(r"Episode 1: return \d+", said.stdout)


def test_envs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["envs"])
    said = capsys.readouterr().out
    assert "CartPole-v1" in said
    assert "module:Id-v0" in said
    main(["envs", "--all"])
    assert {"CartPole-v1", "FrozenLake-v1"} <= set(capsys.readouterr().out.split())


def test_agents(capsys: pytest.CaptureFixture[str]) -> None:
    main(["agents"])
    said = capsys.readouterr().out
    assert re.search(r"^ppo +\w+", said, re.M)
    assert re.search(r"^clone +\w+", said, re.M)
    assert "textrlhf train --agent ppo --help" in said


def test_demo(
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = [lambda agent, _, **how: scores_of(agent, 16, **how), lambda agent, run, _: evaluated(agent, run, 16)]
    for name, function in zip(("scores_of", "evaluated"), few, strict=True):
        monkeypatch.setattr(run_report, name, function)
    run = tmp_path / "demo"
    Request(command="demo", env="TextRLHF-v0", steps=1).save(run)
    (run / "old").touch()
    main(["demo", "--run", f"{run}", "--steps", "256"])
    assert not (run / "old").exists()  # an earlier demo is replaced
    said = capsys.readouterr().out
    for when in ("Before", "After"):
        assert re.search(rf"{when} +score -?\d.*, gold -?\d.*KL -?\d", said)
    assert said.count("The ") + said.count("This ") >= 8  # four prompts, continued by both models
    for name in ("curves.png", "frontier.png", "samples.jsonl", "model"):
        assert str(run / name) in said
        assert name == "curves.png" or (run / name).exists()  # no_charts
    assert len(re.findall(r"^  textrlhf", said.split("Try next")[-1], re.M)) == 3
    assert "will not be deleted" in refused("demo", "--run", f"{runs / 'pole'}")
    assert "will not be deleted" in refused("demo", "--run", f"{runs}")
    assert (runs / "pole" / "config.json").exists()


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("trian", "did you mean train?"),
        ("train", "--env CartPole-v1"),
        ("train --env CartPol-v1", "did you mean CartPole-v1?"),
        ("train --env CartPole-v9", "did you mean CartPole-v1?"),
        ("train --env Zyxw-v0", "textrlhf envs --all"),
        ("train --env no_such_module:A-v0", "install the package that has it"),
        ("train --env CartPole-v1 --agent pppo", "did you mean ppo?"),
        ("train --env CartPole-v1 --n-stps 3", "did you mean --n-steps?"),
        ("train --env CartPole-v1 --n-steps 0", "n_steps=0: accepted is at least 1"),
        ("train --env CartPole-v1 --n-steps many", "--n-steps: invalid literal for int() with base 10: 'many'"),
        ("train --env CartPole-v1 --policy grru", "accepted are auto, mlp, gru, lm and module:name"),
        ("train --env CartPole-v1 --policy json:Decoder", "did you mean JSONDecoder?"),
        ("train --env CartPole-v1 --activation sine", "Expected one of ('tanh', 'relu', 'silu')"),
        ("train --env CartPole-v1 --steps 0", "--steps 0: accepted is at least 1"),
        ("train --env CartPole-v1 --device abacus", "accepted is --device auto, cpu"),
        ("train --env CartPole-v1 --env-kwargs slow", "accepted is a JSON object"),
        ('train --env FrozenLake-v1 --env-kwargs {"ice":1}', "unexpected keyword argument 'ice'"),
        ("train --env CartPole-v1 --run RUNS/pole", "textrlhf resume RUNS/pole"),
        ("train --env CartPole-v1 more", "Unrecognized options: more"),
        ("resume", "textrlhf resume --help"),
        ("resume RUNS/pol", "did you mean RUNS/pole?"),
        ("resume RUNS", "name a run's folder"),
        ("evaluate RUNS", "inside are RUNS/lake, RUNS/pole"),
        ("evaluate RUNS/nothing/at/all", "`textrlhf train --run DIR` creates one"),
        ("evaluate RUNS/pole --episodes 0", "--episodes 0: accepted is at least 1"),
        ("evaluate RUNS/pole --jsn", "did you mean --json?"),
        ("evaluate RUNS/lake --best", "train with --evaluate-every N"),
        ("evaluate RUNS/lake --stochastic --deterministic", "give one of them"),
        ("evaluate RUNS/lake --split heldout", "FrozenLake-v1 has no prompts"),
        ("train --env CartPole-v1 --model gpt2 --kl-coef 1", "--model, --kl-coef: CartPole-v1 has no such argument"),
        ('train --env TextRLHF-v0 --model a --env-kwargs {"model":"b"}', "give one of them"),
        ("train --env TextRLHF-v0 --prompts RUNS/none.jsonl --model reviews --reward-model reviews", "no file"),
        ("train --env TextRLHF-v0 --reward-model json:dmps", "no function or class 'dmps': did you mean dumps?"),
        ("train --env TextRLHF-v0 --reward-model no_such_module:f", "install the package that has it"),
        ("watch RUNS/pole/checkpoints", "neither a run nor a checkpoint"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(line: str, remedy: str, runs: Path, refused: Callable[..., str]) -> None:
    said = refused(*line.replace("RUNS", f"{runs}").split())
    assert remedy.replace("RUNS", f"{runs}") in said


def test_damaged_checkpoint(runs: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    best = tmp_path / "best"
    shutil.copytree(runs / "pole" / "best", best)
    with (best / "model.safetensors").open("r+b") as stream:
        stream.write(b"damaged")
    assert f"{best / 'model.safetensors'} is missing, cut short or altered" in refused("evaluate", f"{best}")


WORLDS = """
import gymnasium as gym

from textrlhf.agents.policies import MLPPolicy

gym.register("Mine-v0", "gymnasium.envs.toy_text:FrozenLakeEnv", max_episode_steps=9)


def make_lake(render_mode=None, is_slippery=True):
    return gym.wrappers.TimeLimit(gym.make("FrozenLake-v1", render_mode=render_mode, is_slippery=is_slippery), 9)


class Policy(MLPPolicy):
    pass


def make_blind():
    return make_lake()
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A module of the user's in the current folder, which is on the path; call it to forget the module."""
    import gymnasium as gym

    def forget() -> None:
        gym.registry.pop("Mine-v0", None)
        sys.modules.pop("my_worlds", None)

    (tmp_path / "my_worlds.py").write_text(WORLDS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield forget
    forget()


def test_environment_that_a_module_registers(
    own_module: Callable[[], None], capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    main(["train", "--env", "my_worlds:Mine-v0", *LAKE[2:], "--steps", "32", "--run", "mine"])
    assert "textrlhf watch mine --trust" in capsys.readouterr().out
    own_module()
    assert "imports my_worlds" in (said := refused("evaluate", "mine"))  # what a run names is not imported
    assert "--trust" in said
    for how in (["--trust"], ["--module", "my_worlds"]):  # a module named on the command line is
        own_module()
        main(["evaluate", "mine", *how, "--episodes", "1"])
        assert "Evaluation" in capsys.readouterr().out
    own_module()
    Path("my_worlds.py").unlink()
    assert "PYTHONPATH=." in refused("evaluate", "mine", "--trust")


def test_environment_that_a_function_makes(
    own_module: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(play, "has_display", lambda: False)
    kwargs = ["--env-kwargs", '{"is_slippery": false}']
    main(["train", "--env", "my_worlds:make_lake", *kwargs, *LAKE[2:], "--steps", "32", "--run", "a", "--quiet"])
    own_module()
    assert "imports my_worlds:make_lake" in refused("evaluate", "a")
    capsys.readouterr()
    main(["evaluate", "a", "--trust", "--episodes", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    del found["checkpoint"]
    assert found == json.loads(Path("a/evaluation.json").read_text())
    assert found["env"] == "my_worlds:make_lake"
    main(["watch", "a", "--trust"])
    assert "Episode 1: return" in capsys.readouterr().out
    main(["train", "--env", "my_worlds:make_blind", *LAKE[2:], "--steps", "32", "--run", "b", "--quiet"])
    assert "takes no render_mode" in refused("watch", "b", "--trust")
    assert "module:function" in refused("train", "--env", "my_worlds:make_pond")


def test_the_current_directory_is_not_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    """A file there could shadow a module that is meant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stray_worlds.py").write_text("raise AssertionError")
    assert "`PYTHONPATH=. textrlhf …` or `python -m" in refused("train", "--env", "stray_worlds:A-v0")


def test_watch_a_wrapped_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gymnasium as gym

    monkeypatch.setattr(play, "has_display", lambda: False)
    env = gym.wrappers.ClipReward(gym.make("FrozenLake-v1"), 0, 1)
    PPO(env, n_envs=2, n_steps=16, n_epochs=1, seed=0).learn(32, run=tmp_path / "run", progress=False)
    main(["watch", str(tmp_path / "run")])
    assert "Episode 1: return" in capsys.readouterr().out


@pytest.mark.parametrize("env", ["CartPole-v1", "FrozenLake-v1", "TextRLHF-v0", "TextQA-v0"])
def test_command_and_python_agree(
    env: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An option equal to another environment's default was taken for one that was not given."""
    made: list[PPO] = []

    def stop(agent: PPO, *args: object, **kwargs: object) -> None:
        made.append(agent)
        raise KeyboardInterrupt

    monkeypatch.setattr(PPO, "learn", stop)
    for tuned, flags in (
        (True, []),
        (False, ["--no-tuned"]),
        (False, ["--no-tuned", "--n-steps", f"{PPOConfig.n_steps}"]),
    ):
        with pytest.raises(SystemExit):
            main(["train", "--env", env, "--seed", "1", "--run", f"{tmp_path / 'run'}", *flags])
        said = capsys.readouterr().out
        own = {"n_steps": PPOConfig.n_steps} if "--n-steps" in flags else {}
        known = tuned and env in tuned_settings("ppo")
        python = PPO.tuned(env, seed=1) if known else PPO(env, seed=1, **own)
        assert made[-1].config == python.config
        assert made[-1].env.recipe == python.env.recipe
        text = env.startswith("Text")
        words = (
            "tuned hyperparameters" if known else "defaults for language models" if text else "default hyperparameters"
        )
        changed = f" except n_steps={PPOConfig.n_steps}" if own and text else ""
        chosen = "" if known or not text else ", chosen for this model and data learning_rate=0.001"
        assert f"seed 1, {words}{changed}{chosen}\n" in said
        python.close()


def test_bugs_keep_their_traceback(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textrlhf.agents.evaluate", lambda *args, **kwargs: {}["a bug"])
    with pytest.raises(KeyError, match="a bug"):
        main(["evaluate", f"{runs / 'pole'}"])


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"reward"}))
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert re.search(rf"Example:\s+textrlhf {command}", capsys.readouterr().out)


def test_help_has_the_defaults_of_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    tuned, plain = tuned_settings("ppo")["Pendulum-v1"].hyperparameters["gamma"], PPOConfig.gamma
    assert tuned != plain
    for argv, gamma in ([], plain), (["--env", "Pendulum-v1"], tuned), (["--env=Pendulum-v1", "--no-tuned"], plain):
        with pytest.raises(SystemExit):
            main(["train", *argv, "--help"])
        assert f"(default: {gamma})" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_overview(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([], ["--help"]):
        main(argv)
        said = capsys.readouterr().out
        assert all(f"  {command} " in said for command in COMMANDS)


def test_help_without_torch() -> None:
    code = "import sys; from textrlhf.pipeline.commands.main import main; main([]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
