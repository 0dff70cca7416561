"""Ctrl-C and SIGTERM end the running update and save a checkpoint; a second signal stops at once."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from interrupted import final_bytes, learned_rows
from textrlhf.agents import PPO, Callback
from textrlhf.records.interruption import interruptible
from textrlhf.records.metrics import read_metrics
from textrlhf.records.run import Run

ROLLOUT = 32  # steps of an update


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pictures, and the signals' default handlers, whatever runs the tests."""
    monkeypatch.setattr("textrlhf.agents.training.loop.draw_curves", lambda *args: None)
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    assert {number: signal.getsignal(number) for number in defaults} == defaults
    for number, handler in before.items():
        signal.signal(number, handler)


class Signal(Callback):
    """Sends this process signals at the n-th update."""

    def __init__(self, update: int, *numbers: int) -> None:
        self.update, self.numbers = update, numbers

    def on_update(self, agent, metrics) -> bool:
        if agent.n_updates == self.update:
            for number in self.numbers:
                os.kill(os.getpid(), number)
        return True


def agent() -> PPO:
    return PPO("CartPole-v1", n_envs=2, n_steps=16, batch_size=16, n_epochs=1, seed=3, checkpoint_every=4 * ROLLOUT)


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_interrupted_run_is_saved_and_resumed(
    number: int,
    raised: type[BaseException],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(raised) as end:
        agent().learn(16 * ROLLOUT, run=tmp_path, progress=False, callbacks=Signal(10, number))
    said = capfd.readouterr().err + str(end.value)
    assert "finishing this update, then saving" in said
    assert f"interrupted at step 320, saved in {tmp_path / 'checkpoints' / 'step-0000000320'}" in said
    assert f"PPO.resume('{tmp_path}')" in said
    assert raised is KeyboardInterrupt or end.value.code == 143
    assert Run(tmp_path).steps() == [4 * ROLLOUT, 8 * ROLLOUT, 10 * ROLLOUT]
    with caplog.at_level(logging.WARNING, "textrlhf"):
        assert PPO.resume(tmp_path, progress=False).num_timesteps == 16 * ROLLOUT
    assert "not bit-identical" in caplog.text
    assert "interrupted between scheduled checkpoints" in caplog.text
    steps = [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert steps == [ROLLOUT * i for i in range(1, 17)]


def test_interrupted_at_a_scheduled_checkpoint_stays_bit_identical(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent().learn(16 * ROLLOUT, run=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        agent().learn(16 * ROLLOUT, run=tmp_path / "cut", progress=False, callbacks=Signal(8, signal.SIGINT))
    PPO.resume(tmp_path / "cut", progress=False)
    assert final_bytes(tmp_path / "cut") == final_bytes(tmp_path / "whole")
    assert learned_rows(tmp_path / "cut") == learned_rows(tmp_path / "whole")
    assert "not bit-identical" not in caplog.text


def test_second_signal_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="at once"):
        agent().learn(16 * ROLLOUT, run=tmp_path, progress=False, callbacks=Signal(10, signal.SIGTERM, signal.SIGINT))
    assert Run(tmp_path).steps() == [4 * ROLLOUT, 8 * ROLLOUT]


def test_interrupted_without_a_run() -> None:
    """The agent is as after its last whole update, and learns on."""
    one = agent()
    with pytest.raises(KeyboardInterrupt, match="interrupted at step 96, after a whole update"):
        one.learn(16 * ROLLOUT, progress=False, callbacks=Signal(3, signal.SIGINT))
    assert one.learn(2 * ROLLOUT, progress=False).num_timesteps == 5 * ROLLOUT


def test_interruption_is_not_swallowed_in_the_last_update() -> None:
    """Else a script would go on with its next training; and it says that this one is complete."""
    one = agent()
    with pytest.raises(KeyboardInterrupt, match="training had ended at step 64"):
        one.learn(2 * ROLLOUT, progress=False, callbacks=Signal(2, signal.SIGINT))
    assert one.num_timesteps == 2 * ROLLOUT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="spawns")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_forked_processes_can_be_ended() -> None:
    """Those of an AsyncVectorEnv inherit the handlers, and would ignore their parent's terminate()."""
    with interruptible("finishing"):
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
        time.sleep(0.05)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM


def test_environments_in_processes_outlive_ctrl_c() -> None:
    """A terminal sends it to them too; without them the update could not be ended (BrokenPipeError)."""
    kwargs = {"vectorization_mode": "async", "vector_kwargs": {"context": "fork"}}
    env = PPO("CartPole-v1", env_kwargs=kwargs, n_envs=1, n_steps=16, seed=0).env.vector_env
    for process in env.processes:
        os.kill(process.pid, signal.SIGINT)
    env.reset(seed=0)
    env.close()


def test_update_that_cannot_be_ended(tmp_path: Path) -> None:
    class Broken(Signal):
        def on_update(self, agent, metrics) -> bool:
            super().on_update(agent, metrics)
            if agent.n_updates == self.update:
                raise BrokenPipeError("the environment is gone")
            return True

    with pytest.raises(KeyboardInterrupt, match="its end failed .BrokenPipeError: the environment is gone"):
        agent().learn(16 * ROLLOUT, run=tmp_path, progress=False, callbacks=Broken(6, signal.SIGINT))
    assert Run(tmp_path).steps() == [4 * ROLLOUT]


def test_own_handler_is_left_alone() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        agent().learn(2 * ROLLOUT, progress=False, callbacks=Signal(1, signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
