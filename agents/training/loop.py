"""The loop around an agent: update, call back, write down, cut, save."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...records.checkpoint import CheckpointError
from ...records.curves import draw_curves
from ...records.folder import write_file
from ...records.metrics import MetricLog
from ...records.progress import ProgressBar, Stopwatch, rounded, shares_text
from ...records.run_checkpoints import checkpoint_path, checkpoint_steps, last_checkpoint, prune
from ...records.samples import SampleLog, in_a_line, table
from ..environment.vectorize import EnvLike
from .callbacks import Callback, Metrics
from .plan import Plan
from .samples import Sampler
from .saving import restore, save

if TYPE_CHECKING:
    from ..agent import Agent

A = TypeVar("A", bound="Agent")
ROWS = 500  # rows of metrics a plan writes, at most


def train(
    agent: Agent,
    plan: Plan,
    callbacks: Callback | Sequence[Callback],
    run: str | os.PathLike[str] | None,
    progress: bool,
) -> None:
    """Carry out what is left of `plan`."""
    callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
    folder = _open_run(agent, Path(run)) if run else None
    watch = Stopwatch()
    with contextlib.ExitStack() as stack:
        stack.enter_context(agent.threads())
        bar = stack.enter_context(ProgressBar(plan.length, agent.title, show=progress))
        metric_log = None
        if folder:
            metric_log = MetricLog(folder, agent.num_timesteps)
            stack.callback(draw_curves, folder, agent.title)
            stack.callback(metric_log.close)
        samples = stack.enter_context(contextlib.closing(Samples(agent, plan, folder, metric_log, bar)))
        for callback in callbacks:
            callback.on_start(agent, folder)
        began, first = time.perf_counter(), agent.num_timesteps
        going = agent.num_timesteps < plan.end
        samples.take()
        while going:
            before = agent.num_timesteps
            metrics = agent.advance(plan.remaining(before), watch)
            now = agent.num_timesteps
            metrics |= agent.episodes.metrics()
            usual = len(metrics)
            wishes = [callback.on_update(agent, metrics) for callback in callbacks]  # all are asked
            going = all(wishes) and now < plan.end
            speed = (now - first) / (time.perf_counter() - began)
            if plan.crosses(plan.length // ROWS, before, now) or len(metrics) > usual or not going:
                bar.update(now - plan.start, _note(metrics, speed), shares_text(watch.shares()))
                if metric_log:
                    times = {f"time/{name}": share for name, share in watch.shares().items()}
                    metric_log.write(now, metrics | times | {"time/steps_per_second": speed})
            samples.take(before, last=not going)
            if plan.cut_due(before, now) or not going:
                env_state = agent.env.get_state()
                agent.cut(env_state)
                if folder:
                    states = [[type(callback).__name__, callback.state_dict()] for callback in callbacks]
                    save(agent, checkpoint_path(folder, now), {"adapter": env_state, "callbacks": states})
                    prune(folder)
                    agent.policy.export(folder)
            watch.lap("other")
        for callback in callbacks:
            callback.on_end(agent)


class Samples:
    """Samples of the agent's doing, some ten times over a plan, wherever somebody can see them."""

    TIMES = 10

    def __init__(
        self, agent: Agent, plan: Plan, folder: Path | None, metric_log: MetricLog | None, bar: ProgressBar
    ) -> None:
        self.agent, self.plan, self.metric_log, self.bar = agent, plan, metric_log, bar
        self.log = SampleLog(folder, agent.num_timesteps) if folder else None
        self.sampler = Sampler(agent) if (folder or bar.show) and Sampler.suits(agent) else None

    def take(self, before: int | None = None, *, last: bool = False) -> None:
        """Take samples if it is time: at the beginning, at the end, and between."""
        now = self.agent.num_timesteps
        if before is None:
            due = now == self.plan.start
        else:
            due = last or self.plan.crosses(self.plan.length // self.TIMES, before, now)
        if self.sampler is None or not due or (self.log and self.log.has(now)):
            return
        found = self.sampler.take()
        if self.log:
            self.log.add(now, found)
        if self.metric_log:
            self.metric_log.write_text(now, "samples", table(found))
        self.bar.say(f"{now:>9,}  {in_a_line(found[0])}")

    def close(self) -> None:
        """Close the environment in which samples are taken."""
        if self.sampler:
            self.sampler.close()


def resume(
    cls: type[A],
    run: str | os.PathLike[str],
    env: EnvLike | None,
    callbacks: Callback | Sequence[Callback],
    progress: bool,
) -> A:
    """Load the last whole checkpoint of a run and finish its plan."""
    callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
    checkpoint = last_checkpoint(run)
    agent = restore(cls, checkpoint, env)
    if agent.plan is None or "callbacks" not in checkpoint.state:
        raise CheckpointError(f"{checkpoint.path} is not a point to resume from; load it and call learn()")
    saved = list(checkpoint.state["callbacks"])
    for callback in callbacks:  # each takes the first state left by one of its class; a new one begins afresh
        mine = next((entry for entry in saved if entry[0] == type(callback).__name__), None)
        if mine:
            saved.remove(mine)
            callback.load_state_dict(mine[1])
    agent.cut(checkpoint.state["adapter"])
    train(agent, agent.plan, callbacks, run, progress)
    return agent


def refuse_to_overwrite(agent: Agent, run: str | os.PathLike[str]) -> None:
    """Refuse a folder in which another run, or this agent in another life, has come further than the agent."""
    for step in checkpoint_steps(run):
        if step > agent.num_timesteps:
            raise FileExistsError(
                f"run={str(run)!r} already holds a run that has come to step {step:,}: "
                "resume it, name another folder, or delete it"
            )


def _open_run(agent: Agent, folder: Path) -> Path:
    """Make a run's folder, or go on in one; nothing is deleted there but metrics of steps that lie ahead."""
    about = {"agent": agent.name, "env": agent.env.recipe, "config": agent.config.to_json()}
    write_file(folder / "config.json", json.dumps(about, indent=1))
    return folder


def _note(metrics: Metrics, speed: float) -> str:
    names = {
        "rollout/return": "return",
        "rollout/score": "score",
        "rollout/gold": "gold",
        "rollout/kl": "KL",
        "evaluation/return": "evaluation",
        "train/loss": "loss",
        "heldout/loss": "held out",
    }
    parts = [f"{word} {rounded(metrics[name])}" for name, word in names.items() if name in metrics]
    return "  ".join([*parts, f"{speed:,.0f} steps/s"])
