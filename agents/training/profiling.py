"""Where the time of rollouts and updates goes, by torch's profiler."""

from __future__ import annotations

import bisect
import contextlib
import functools
import itertools
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, record_function
from torch.profiler import profile as torch_profile

from ...records.progress import Stopwatch
from .learner import Learner

LAP, OPTIMISER, PYTHON, OTHER = "textrlhf lap ", "textrlhf optimiser", "Python", "other operations"
KINDS = {  # the kinds of operations, by their names; of attention and softmax (ours too) with all that they call
    "matrix products": r"aten::(mm|addmm|bmm|baddbmm|mv|addmv|dot|_addmm_activation|mkldnn_linear.*|.*convolution.*)",
    "attention": r"aten::_scaled_dot_product.*attention.*",
    "softmax": r"aten::(_?(log_)?softmax.*|logsumexp)|_Softmax|.*: _SoftmaxBackward",
    "optimiser": OPTIMISER,
    "copies": r"aten::(copy_|cat|stack|clone|_to_copy|_?index.*|gather|scatter.*|embedding.*)",
}
_KINDS = {name: re.compile(pattern) for name, pattern in KINDS.items()}


@dataclass(frozen=True)
class Profile:
    """The seconds of some updates: by part of an update, and in it by kind of operation."""

    updates: int
    steps: int
    seconds: dict[str, dict[str, float]]

    def share(self, part: str, *kinds: str) -> float:
        """The share of a part's time that these kinds take."""
        return sum(self.seconds[part].get(kind, 0.0) for kind in kinds) / (sum(self.seconds[part].values()) or 1.0)

    def to_json(self) -> dict[str, Any]:
        """The shares of each part's time, and each part's seconds per update."""
        return {
            "updates": self.updates,
            "steps": self.steps,
            "seconds_per_update": {part: sum(kinds.values()) / self.updates for part, kinds in self.seconds.items()},
            "shares": {part: {kind: self.share(part, kind) for kind in kinds} for part, kinds in self.seconds.items()},
        }


def profile(agent: Learner, updates: int = 2, warmup: int = 1) -> Profile:
    """Train for some updates, and measure all but the first ones; the agent learns from them as ever.

    Profiling makes small operations slower, so a small network's shares are rough. Only on the CPU.
    """
    if agent.device.type != "cpu":
        raise ValueError(f"the agent is on {agent.device}: only the CPU is profiled, use device='cpu'")
    agent.cut(None)
    recorder = torch_profile(activities=[ProfilerActivity.CPU])
    with agent.threads(), tempfile.TemporaryDirectory() as folder:
        for _ in range(warmup):
            agent.advance(1.0, Stopwatch())
        before, watch = agent.num_timesteps, _Marks()
        with _optimisers_marked(agent), _recording(recorder):
            watch.lap("start")
            for _ in range(updates):
                agent.advance(1.0, watch)
                watch.lap("other")
        file = Path(folder) / "trace.json"
        recorder.export_chrome_trace(str(file))
        events = json.loads(file.read_text())["traceEvents"]
    return Profile(updates, agent.num_timesteps - before, seconds_by_kind(events))


class _Marks(Stopwatch):
    """Marks the end of each lap in the profile."""

    def lap(self, name: str) -> None:
        with record_function(LAP + name):
            super().lap(name)


@contextlib.contextmanager
def _optimisers_marked(agent: Learner) -> Iterator[None]:
    """Mark the optimisers' steps in the profile."""
    for optimizer in agent.optimizers.values():

        def marked(*arguments: Any, step: Any = optimizer.step) -> None:
            with record_function(OPTIMISER):
                step(*arguments)

        vars(optimizer)["step"] = marked
    try:
        yield
    finally:
        for optimizer in agent.optimizers.values():
            del vars(optimizer)["step"]


@contextlib.contextmanager
def _recording(recorder: Any) -> Iterator[None]:
    with _without_stderr():
        recorder.start()
    try:
        yield
    finally:
        with _without_stderr():
            recorder.stop()


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Some builds of torch print two lines there for each profile."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def seconds_by_kind(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Add up a trace's operations by part and kind; what no operation takes of a part's time is Python's.

    All time is Python's at first. Each operation moves its time from the kind of the one around it to its own.
    """
    spans = [event for event in events if event.get("cat") in ("cpu_op", "user_annotation")]
    laps = sorted((e["ts"], e["name"].removeprefix(LAP), e["tid"]) for e in spans if e["name"].startswith(LAP))
    ends = [end for end, *_ in laps]
    found: dict[str, dict[str, float]] = {}
    for (began, *_), (ended, part, _) in itertools.pairwise(laps):
        kinds = found.setdefault(part, dict.fromkeys([*KINDS, OTHER, PYTHON], 0.0))
        kinds[PYTHON] += (ended - began) / 1e6
    around: list[tuple[float, str]] = []  # the operations around, outermost first: their ends and kinds
    for event in sorted(spans, key=lambda event: (event["ts"], -event["dur"])):
        lap = bisect.bisect(ends, event["ts"])
        if not 0 < lap < len(laps) or event["tid"] != laps[lap][2] or event["name"].startswith(LAP):
            continue
        while around and around[-1][0] <= event["ts"]:
            around.pop()
        outer = around[-1][1] if around else PYTHON
        kind = outer if outer in KINDS else _kind_of(event["name"])
        found[laps[lap][1]][outer] -= event["dur"] / 1e6
        found[laps[lap][1]][kind] += event["dur"] / 1e6
        around.append((event["ts"] + event["dur"], kind))
    return found


@functools.cache
def _kind_of(name: str) -> str:
    return next((kind for kind, pattern in _KINDS.items() if pattern.fullmatch(name)), OTHER)
