"""Sample texts during training: the same prompts with the same random numbers, again and again."""

from __future__ import annotations

from ...records.metrics import MetricLog
from ...records.progress import ProgressBar
from ...records.run import Run
from ...records.samples import Sample, markdown_table, one_line
from ..environment.episode_info import numbers
from ..environment.play import play
from ..settings.seeding import Stream, derive_seed
from .evaluation import playing_env
from .learner import Learner

N = 4  # episodes


class Samples:
    """Plays a few episodes whenever it is asked to.

    Only in text environments that can be made again, and if there is a run folder or a progress bar to show them.
    """

    def __init__(self, agent: Learner, run: Run | None, metric_log: MetricLog | None, bar: ProgressBar) -> None:
        self.agent, self.metric_log, self.bar = agent, metric_log, bar
        self.log = run.samples(agent.num_timesteps) if run else None
        shown = (run or bar.show) and agent.env.is_text and agent.env.again is not None
        self.env = playing_env(agent, None, N) if shown else None

    def take(self) -> None:
        """Play and record the episodes, unless that was done at this step."""
        now = self.agent.num_timesteps
        if self.env is None or (self.log and self.log.has(now)):
            return
        if self.env.has_kl_penalty and self.agent.env.has_kl_penalty:
            self.env.kl_coef = self.agent.env.kl_coef
        seed = derive_seed(self.agent.seed, Stream.SAMPLES)
        found: dict[int, Sample] = {}
        for step in play(self.env, self.agent.player(N, seed), N, seed):
            for slot in step.ended:
                info = step.result.episode_info.get(slot, {})
                found[slot] = {name: value for name, value in info.items() if isinstance(value, str)} | numbers(info)
        samples = [found[slot] for slot in range(N)]
        if self.log:
            self.log.add(now, samples)
        if self.metric_log:
            self.metric_log.write_text(now, "samples", markdown_table(samples))
        self.bar.print(f"{now:>9,}  {one_line(samples[0])}")

    def close(self) -> None:
        """Close the environment."""
        if self.env:
            self.env.close()
