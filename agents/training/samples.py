"""The same few episodes over and over while an agent learns, for people to read."""

from __future__ import annotations

from ...records.metrics import MetricLog
from ...records.progress import ProgressBar
from ...records.run import Run
from ...records.samples import Sample, in_a_line, table
from ..environment.episode_info import numbers
from ..environment.play import play
from ..settings.seeding import Stream, derive_seed
from .evaluation import playing_env
from .learner import Learner
from .plan import Plan

N = 4  # episodes
TIMES = 10  # over a plan


class Sampler:
    """Plays one episode in each of a few slots, with the same prompts and the same random numbers every time."""

    def __init__(self, agent: Learner) -> None:
        self.agent, self.env = agent, playing_env(agent, None, N)
        self.seed = derive_seed(agent.seed, Stream.SAMPLES)

    @staticmethod
    def suits(agent: Learner) -> bool:
        """Whether there is something to read: a text environment that can be made again."""
        return agent.env.is_text and agent.env.recipe is not None

    def take(self) -> list[Sample]:
        """Play, and return what each episode's end reported, slot by slot."""
        if self.env.has_kl_penalty and self.agent.env.has_kl_penalty:
            self.env.kl_coef = self.agent.env.kl_coef
        found: dict[int, Sample] = {}
        for step in play(self.env, self.agent.player(N, self.seed), N, self.seed):
            for slot in step.ended:
                info = step.result.episode_info.get(slot, {})
                words = {name: value for name, value in info.items() if isinstance(value, str)}
                found[slot] = {**words, **numbers(info)}
        return [found[slot] for slot in range(N)]

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


class Samples:
    """Takes samples at the start, at the end and some ten times between, where there is somewhere to show them."""

    def __init__(
        self, agent: Learner, plan: Plan, run: Run | None, metric_log: MetricLog | None, bar: ProgressBar
    ) -> None:
        self.agent, self.plan, self.metric_log, self.bar = agent, plan, metric_log, bar
        self.log = run.samples(agent.num_timesteps) if run else None
        self.sampler = Sampler(agent) if (run or bar.show) and Sampler.suits(agent) else None

    def take(self, before: int | None = None, *, last: bool = False) -> None:
        """Take samples if they are due."""
        now = self.agent.num_timesteps
        if before is None:
            due = now == self.plan.start
        else:
            due = last or self.plan.crosses(self.plan.length // TIMES, before, now)
        if self.sampler is None or not due or (self.log and self.log.has(now)):
            return
        found = self.sampler.take()
        if self.log:
            self.log.add(now, found)
        if self.metric_log:
            self.metric_log.write_text(now, "samples", table(found))
        self.bar.say(f"{now:>9,}  {in_a_line(found[0])}")

    def close(self) -> None:
        """Close the sampler's environment."""
        if self.sampler:
            self.sampler.close()
