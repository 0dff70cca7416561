"""The training loop around an agent: update, call back, log, cut, save."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Sequence
from typing import Any

from ...records.curves import draw_curves
from ...records.interruption import interruptible
from ...records.progress import ProgressBar, Stopwatch, rounded, shares_text
from ...records.run import Run
from ...records.saving_budget import SavingBudget, size_of
from ..environment.adapter import StepResult
from ..environment.recipe import imports
from .learner import Callback, CallbackLike, Learner, Metrics, as_callbacks, stops
from .plan import Plan
from .samples import Samples
from .warn import Warn

SAMPLES = 10  # times that sample episodes may be played per plan, besides the first and the last


def train(
    agent: Learner,
    plan: Plan,
    callbacks: CallbackLike | Iterable[CallbackLike],
    run: Run | None,
    progress: bool,
    callback_states: Sequence[tuple[str, dict[str, Any]]] = (),
) -> None:
    """Train until the end of the plan or until a callback returns False; call `agent.cut` before.

    A cut is saved where that takes little time (`SavingBudget`), the end always; the agent is exported at the end.
    Ctrl-C and SIGTERM end the running update, and save and export too.
    Where there is a progress bar, someone is there to be warned of signs of a training that goes wrong (`Warn`).
    Each callback takes the first of the `callback_states` saved by its class; new ones start from scratch.
    """
    callbacks = as_callbacks(callbacks)
    callbacks += [Warn()] if progress and not any(isinstance(one, Warn) for one in callbacks) else []
    _restore(callbacks, callback_states)
    watch, budget = Stopwatch(), SavingBudget()
    with contextlib.ExitStack() as stack:
        stack.enter_context(agent.threads())
        bar = stack.enter_context(ProgressBar(plan.length, agent.title, show=progress))
        metric_log = None
        if run:
            about = {"config": agent.config.to_json(), "plan": dataclasses.asdict(plan)}
            run.write_config({**agent.identity(), **about})
            metric_log = run.metrics(agent.num_timesteps)
            stack.push(lambda kind, *_: _draw_curves(run, agent.title, kind))
            stack.callback(metric_log.close)
        samples = stack.enter_context(contextlib.closing(Samples(agent, run, metric_log, bar)))
        for callback in callbacks:
            callback.on_start(agent, run.path if run else None)
        stopped = stack.enter_context(interruptible("finishing this update" + (", then saving" if run else "")))
        steps = stack.enter_context(_Steps(agent, callbacks))
        stack.push(lambda kind, *_: _stop_settling(agent, kind))
        started, first = time.perf_counter(), agent.num_timesteps
        going = agent.num_timesteps < plan.end
        if agent.num_timesteps == plan.start:
            samples.take(always=True)
        if run and not going:  # resumed, having perhaps been killed after its last checkpoint
            agent.export(run.path)
        while going:
            before = agent.num_timesteps
            metrics = agent.advance(plan.remaining(before), watch)
            now = agent.num_timesteps
            metrics |= agent.episodes.metrics()
            going, notable = now < plan.end and not steps.stopped, False
            for callback in callbacks:  # all are called, even if one stops training
                known = len(metrics)
                going &= not stops(callback.on_update(agent, metrics))
                notable |= len(metrics) > known and not callback.metrics_every_update
            speed = (now - first) / (time.perf_counter() - started)
            if plan.crosses(plan.row_every, before, now) or notable or not going:
                bar.update(now - plan.start, _note(metrics, speed), shares_text(watch.shares()))
                if metric_log:
                    times = {f"time/{name}": share for name, share in watch.shares().items()}
                    metric_log.write(now, metrics | times | {"time/steps_per_second": speed})
            if plan.crosses(plan.length // SAMPLES, before, now) or not going:
                samples.take(always=not going)
            scheduled, interrupted = plan.cut_due(before, now) or not going, bool(stopped) and going
            watch.lap("other")
            if run and (scheduled or interrupted):
                env_state = _cut(agent)
                last = interrupted or not going
                if last or budget.overdue() or budget.affords(size_of(agent.tensors())):
                    with budget.saving():
                        _save(agent, run, callbacks, env_state, {} if scheduled else {"interrupted": True})
                    watch.lap("saving")
                if last:
                    agent.export(run.path)
            if interrupted:
                stopped.end(_interrupted(agent, run))
        for callback in callbacks:
            callback.on_end(agent)
        if stopped:  # in the last update
            where = f", saved in {run.checkpoint_path(agent.num_timesteps)}" if run else ""
            stopped.end(f"training had ended at step {agent.num_timesteps:,}{where}")


def _restore(callbacks: Iterable[Callback], states: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Each callback takes the first state saved by its class."""
    saved = list(states)
    for callback in callbacks:
        mine = next((entry for entry in saved if entry[0] == type(callback).__name__), None)
        if mine:
            saved.remove(mine)
            callback.load_state_dict(mine[1])


def _cut(agent: Learner) -> list[Any] | None:
    """Start new episodes, as a run resumed from here will, and return the state of the environments it starts from."""
    env_state = agent.env.get_state()
    agent.cut(env_state)
    return env_state


def _save(
    agent: Learner, run: Run, callbacks: Iterable[Callback], env_state: list[Any] | None, more: dict[str, Any]
) -> None:
    """Write the checkpoint of a cut."""
    states = [[type(callback).__name__, callback.state_dict()] for callback in callbacks]
    state = {**agent.checkpoint_state(), "env_state": env_state, "callbacks": states, **more}
    run.save(agent.num_timesteps, state, agent.tensors())


def _stop_settling(agent: Learner, error: type[BaseException] | None) -> None:
    """Whoever uses the environment next gets whole rewards; after an error it may be beyond use."""
    if error is None or issubclass(error, KeyboardInterrupt):
        agent.env.stop_settling()


def _draw_curves(run: Run, title: str, error: type[BaseException] | None) -> None:
    """Also of an interrupted run, but not on a full disk, whose error it would replace."""
    if error is None or not issubclass(error, OSError):
        draw_curves(run.path, title)


def _interrupted(agent: Learner, run: Run | None) -> str:
    at = f"interrupted at step {agent.num_timesteps:,}"
    if run is None:
        return f"{at}, after a whole update"
    shell, python = (" --trust", ", trust=True") if agent.env.recipe and imports(agent.env.recipe) else ("", "")
    again = f"`textrlhf resume {run.path}{shell}` or {type(agent).__name__}.resume({str(run.path)!r}{python})"
    return f"{at}, saved in {run.checkpoint_path(agent.num_timesteps)}: continue with {again}"


class _Steps(contextlib.AbstractContextManager["_Steps"]):
    """Calls `on_step` of the callbacks that have one; if none has, the agent's steps cost nothing more."""

    def __init__(self, agent: Learner, callbacks: Sequence[Callback]) -> None:
        self.agent, self.stopped = agent, False
        self.callbacks = [callback for callback in callbacks if type(callback).on_step is not Callback.on_step]
        agent.on_step = self if self.callbacks else None

    def __call__(self, result: StepResult) -> None:
        for callback in self.callbacks:
            self.stopped |= stops(callback.on_step(self.agent, result))

    def __exit__(self, *error: object) -> None:
        self.agent.on_step = None


def _note(metrics: Metrics, speed: float) -> str:
    names = {
        "rollout/return": "return",
        "rollout/score": "score",
        "rollout/gold": "gold",
        "rollout/kl": "KL",
        "evaluation/return": "evaluation",
        "train/loss": "loss",
        "heldout/loss": "held-out loss",
    }
    parts = [f"{word} {rounded(metrics[name])}" for name, word in names.items() if name in metrics]
    return "  ".join([*parts, f"{speed:,.0f} steps/s"])
