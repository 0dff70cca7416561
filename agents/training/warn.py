"""The callback that warns of a training that goes wrong."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .learner import Callback, Learner, Metrics
from .warning_signs import SIGNS, WINDOW, History

log = logging.getLogger("textrlhf")
PAGE = "docs/troubleshooting.md"
SAVED = ("fresh", "begin", "last", "extremes", "updates")  # of the history; the rest is known again when it resumes
ENOUGH = 50  # episodes whose deviation is worth a look


class Warn(Callback):
    """Logs a line, once per sign, when metrics show that a training goes wrong: what is seen, and what to try.

    `learn` and the command line add one wherever they show a progress bar. `found` holds the step and the line of each
    sign.
    """

    def __init__(self) -> None:
        self.history = History()
        self.found: dict[str, tuple[int, str]] = {}

    def on_start(self, agent: Learner, run: Path | None) -> None:
        """See `Callback.on_start`."""
        self.history.text = agent.env.is_text
        self.history.bf16 = bool(getattr(agent.config, "bf16", False))
        sizes = [getattr(getattr(lm, "model", None), "dtype", torch.float32).itemsize for lm in _models(agent)]
        self.history.half_reference = sizes[0] < sizes[1]
        if not self.history.updates:
            self.history.fresh = not agent.num_timesteps

    def on_update(self, agent: Learner, metrics: Metrics) -> None:
        """Look for signs."""
        history, plan = self.history, agent.plan
        history.add(metrics)
        history.done = 1 - plan.remaining(agent.num_timesteps) if plan else 0.0
        history.deviation = _deviation(agent)
        for sign in SIGNS:
            if sign.anchor not in self.found and (seen := sign.seen(history)):
                step = agent.num_timesteps
                self.found[sign.anchor] = step, f"{seen}: {sign.advice} ({PAGE}#{sign.anchor})"
                log.warning("step %s: %s", f"{step:,}", self.found[sign.anchor][1])

    def state_dict(self) -> dict[str, Any]:
        """See `Callback.state_dict`."""
        return {"found": self.found, **{name: getattr(self.history, name) for name in SAVED}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Callback.load_state_dict`."""
        self.found = {name: (step, line) for name, (step, line) in state["found"].items()}
        self.history = dataclasses.replace(self.history, **{name: state[name] for name in SAVED})
        self.history.extremes = {name: (low, high) for name, (low, high) in state["extremes"].items()}
        self.history.last = {name: list(values)[-WINDOW:] for name, values in state["last"].items()}


def _models(agent: Learner) -> tuple[Any, Any]:
    """The reference model and the policy's, None where there is none."""
    return agent.env.reference_model, getattr(getattr(agent, "policy", None), "lm", None)


def _deviation(agent: Learner) -> float:
    """The standard deviation of the last hundred episodes' scores, or of their returns; NaN of too few."""
    recent = agent.episodes.recent
    name = "score" if recent and "score" in recent[-1] else "return"
    values = [episode[name] for episode in recent if name in episode]
    return float(np.std(values)) if len(values) >= ENOUGH else float("nan")
