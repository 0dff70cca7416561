"""Sample texts during training: the same prompts with the same random numbers, again and again.

They have an environment and random numbers of their own, so how many are written changes nothing of what is learned.
"""

from __future__ import annotations

from ...records.metrics import MetricLog
from ...records.progress import ProgressBar
from ...records.run import Run
from ...records.samples import Sample, markdown_table, one_line
from ...records.time_budget import TimeBudget
from ..environment.adapter import EnvAdapter
from ..environment.episode_info import numbers
from ..environment.play import play
from ..settings.seeding import Stream, derive_seed
from .evaluation import playing_env
from .learner import Learner

N = 4  # episodes
SHARE, ALLOWANCE = 0.1, 3.0  # of the time, and seconds, that samples between the first and the last ones may take


class Samples:
    """Plays a few episodes whenever it is asked to.

    Only in text environments that can be made again, and if there is a run folder or a progress bar to show them.
    """

    def __init__(self, agent: Learner, run: Run | None, metric_log: MetricLog | None, bar: ProgressBar) -> None:
        self.agent, self.metric_log, self.bar = agent, metric_log, bar
        self.log = run.samples(agent.num_timesteps) if run else None
        shown = (run or bar.show) and agent.env.is_text and agent.env.again is not None
        self.env = playing_env(agent, None, N) if shown else None
        self._budget = TimeBudget(SHARE, ALLOWANCE)

    def take(self, *, always: bool) -> None:
        """Play and record the episodes, unless that was done at this step, or takes too long and need not be."""
        known = self.log and self.log.has(self.agent.num_timesteps)
        if self.env is not None and not known and (always or self._budget.allows()):
            with self._budget.spending():
                self._play(self.env)

    def _play(self, env: EnvAdapter) -> None:
        now = self.agent.num_timesteps
        if env.has_kl_penalty and self.agent.env.has_kl_penalty:
            env.kl_coef = self.agent.env.kl_coef
        seed = derive_seed(self.agent.seed, Stream.SAMPLES)
        found: dict[int, Sample] = {}
        for step in play(env, self.agent.player(N, seed), N, seed):
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
