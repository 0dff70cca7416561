"""`textrlhf chat` and `textrlhf write --chat`."""

from __future__ import annotations

import io
import json
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.control import strip_control_codes

from chat_models import chat_lm, said
from textrlhf.language import generate
from textrlhf.language.chatting import Chat
from textrlhf.pipeline.commands.main import main
from textrlhf.pipeline.runs.run_folder import save_request
from textrlhf.records.samples import read_samples


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder such as training leaves, with a tiny chat model."""
    folder = tmp_path_factory.mktemp("runs") / "chat"
    folder.mkdir()
    (folder / "metrics.jsonl").touch()
    chat_lm().save(folder / "model")
    return folder


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C as in a terminal, also where the tests run in the background, in which a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def answer(messages: list[dict[str, str]], n: int = 6) -> str:
    lm = chat_lm()
    (text,) = generate(lm, [lm.chat.tokens(messages).tolist()], n, temperature=0)
    return lm.decode(text.tokens)


def shown(text: str) -> str:
    """A text as the terminal shows it."""
    return strip_control_codes(text)


def say(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def test_chat_answers_each_line(run: Path, monkeypatch, capsys) -> None:
    say(monkeypatch, "the hat?\n\nwhy?\n/reset\nwhy?\n/help\n<|im_end|>\n/exit\nnever\n")
    main(["chat", f"{run}", "--temperature", "0", "--max-new-tokens", "6"])
    out = capsys.readouterr().out
    first = answer(said("the hat?"))
    second = answer(said("the hat?", first.strip(), "why?"))
    lines = out.split("\n")
    assert out.startswith(shown(f"{first}\n{second}\n{answer(said('why?'))}\nThere is no /help: /reset"))
    assert "which ends a turn" in lines[-2]


def test_write_answers_through_the_template(run: Path, monkeypatch, capsys) -> None:
    how = ["--model", f"{run / 'model'}", "--chat", "--temperature", "0", "--max-new-tokens", "6"]
    main(["write", "the hat?", "--system", "Be brief.", *how])
    assert capsys.readouterr().out == shown(f"{answer(said('the hat?', system='Be brief.')).strip()}\n")
    main(["write", json.dumps(said("the?", "hat", "so?")), *how])
    assert capsys.readouterr().out == shown(f"{answer(said('the?', 'hat', 'so?')).strip()}\n")
    say(monkeypatch, f"the?\n{json.dumps({'messages': said('so?')})}\n")
    main(["write", "-", *how, "-n", "2"])
    one, two = (shown(answer(said(text)).strip()) for text in ("the?", "so?"))
    assert capsys.readouterr().out == f"> the?\n{one}\n{one}\n> so?\n{two}\n{two}\n"


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("write hi --model MODEL --system brief", "--system is the system message of a chat: give --chat too"),
        ("write hi --model reviews --chat", "has no chat template"),
        (
            """write '[{"role": "user"}]' --model MODEL --chat""",
            "PROMPT, line 1: message 0 (user) has the content None",
        ),
        ("write - --model MODEL --chat", "standard input has no lines"),
        ("chat reviews", "has no chat template"),
        ("chat MODEL --temperature -1", "temperature is -1"),
        ("chat MODEL --max-new-tokens 0", "--max-new-tokens 0: accepted is at least 1"),
    ],
)
def test_mistakes(run: Path, line: str, remedy: str, monkeypatch, capsys) -> None:
    say(monkeypatch, "")
    with pytest.raises(SystemExit) as end:
        main(shlex.split(line.replace("MODEL", f"{run / 'model'}")))
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert remedy in message


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_ends_the_answer_and_a_second_one_the_chat(run: Path, monkeypatch, capsys) -> None:
    """Its memory too goes on as if the answer had ended there."""
    whole, presses = Chat._tokens, iter([1, 0, 2])

    def interrupted(self: Chat, prompt: list[int], room: int) -> Iterator[int]:
        again = next(presses)
        for i, token in enumerate(whole(self, prompt, room)):
            for _ in range(again if i == 1 else 0):
                signal.raise_signal(signal.SIGINT)
            yield token

    lines = iter(["the hat?", "why?", "so?"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(Chat, "_tokens", interrupted)
    with pytest.raises(SystemExit) as end:
        main(["chat", f"{run}", "--temperature", "0", "--max-new-tokens", "6"])
    assert end.value.code == 130
    _, first, second, _ = capsys.readouterr().out.split("\n", 3)
    assert 0 < len(first) < len(shown(answer(said("the hat?")).strip()))
    assert second == shown(answer(said("the hat?", first.strip(), "why?")).lstrip())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_at_the_prompt_ends_the_chat(run: Path, monkeypatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr("sys.stdin", Terminal())
    main(["chat", f"{run}"])


def test_what_is_no_language_model(tmp_path: Path, monkeypatch, capsys) -> None:
    """`it is no folder … as a hub id it gave`, after minutes of trying; a reward model's run was none."""

    def refused(name: Path | str) -> str:
        with pytest.raises(SystemExit):
            main(["chat", f"{name}"])
        return capsys.readouterr().err

    assert "there is no folder" in refused(tmp_path / "runs" / "mine")
    save_request(tmp_path / "judge", {"command": "reward train"})
    assert "is the run of a reward model, which scores texts and writes none" in refused(tmp_path / "judge")
    monkeypatch.chdir(tmp_path)
    assert "there is no folder ./judg" in refused("./judg")
    assert "there is no folder runs/mine: " in refused("runs/mine")
    assert "there is no folder judge/run: " in refused("judge/run")

    def asks(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr("textrlhf.language.load", asks)
    with pytest.raises(InterruptedError):
        main(["chat", "some/model"])
    told = "textrlhf: there is no folder some/model, so it is looked for on the Hugging Face hub\n"
    assert capsys.readouterr().err == told


def test_a_run_without_a_model_says_so(tmp_path: Path, capsys) -> None:
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(SystemExit):
        main(["chat", f"{tmp_path}"])
    assert "has no language model" in capsys.readouterr().err


@pytest.mark.slow
def test_messages_become_a_model_to_talk_with(run: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """From a file of messages alone: fine-tuning, PPO from the same prompts, and a chat with the result."""
    demos = tmp_path / "demos.jsonl"
    rows = [{"messages": said(f"the {word}?", f"a {word}", system="Be brief.")} for word in ("hat", "sea", "tree")]
    demos.write_text("".join(json.dumps(row) + "\n" for row in rows))
    how = ["--seed", "0", "--evaluation-episodes", "2", "--quiet", "--env", "TextRLHF-v0"]
    fitted, learned = f"{tmp_path / 'sft'}", f"{tmp_path / 'ppo'}"
    main(["train", *how, "--agent", "clone", "--demonstrations", f"{demos}", "--model", f"{run / 'model'}",
          "--steps", "40", "--batch-size", "20", "--run", fitted])  # fmt: skip
    samples = read_samples(Path(fitted) / "samples.jsonl")
    assert samples[0]["prompt"].startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nthe ")
    (tmp_path / "my_lengths.py").write_text("def short(prompts, responses):\n    return [-len(r) for r in responses]\n")
    monkeypatch.syspath_prepend(tmp_path)
    main(["train", *how, "--model", f"{fitted}/model", "--prompts", f"{demos}", "--reward-model", "my_lengths:short",
          "--n-envs", "2", "--n-steps", "16", "--steps", "64", "--run", learned])  # fmt: skip
    capsys.readouterr()
    say(monkeypatch, "the hat?\n")
    main(["chat", learned, "--system", "Be brief.", "--max-new-tokens", "6", "--temperature", "0"])
    assert capsys.readouterr().out.strip()


def test_demonstrations_without_prompts_ask_for_some(run: Path, tmp_path: Path, capsys) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "the hat"}\n')
    with pytest.raises(SystemExit):
        main(["train", "--env", "TextRLHF-v0", "--agent", "clone", "--demonstrations", f"{texts}", "--steps", "4",
              "--model", f"{run / 'model'}", "--run", f"{tmp_path / 'run'}"])  # fmt: skip
    assert "line 1: the row has no prompt that samples could continue" in capsys.readouterr().err
