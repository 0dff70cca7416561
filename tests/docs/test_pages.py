"""The pages of environments and reward models: what they show runs and prints what they say, and nothing is left
out.
"""

import ast
import dataclasses
import inspect
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import gymnasium as gym
import pytest

import textrlhf
from textrlhf.envs.text.tasks import make_task
from textrlhf.language.causal_lm import shipped
from textrlhf.reward_models import TrainConfig
from textrlhf.reward_models.evaluation.report import MEANINGS
from textrlhf.reward_models.feedback.schemas.table import SCHEMAS
from textrlhf.reward_models.text.folder import shipped_reward_models
from textrlhf.reward_models.text.reward_model import RewardModelConfig

DOCS = Path(textrlhf.__file__).parent / "docs"
REWARD_MODEL_ASSETS = DOCS / "reward_models.md"
PAGES = [*sorted((DOCS / "envs").glob("*.md")), DOCS / "own_prompts.md", DOCS / "agents" / "ppo_on_text.md"]
PAGES += [
    DOCS / "chat.md",
    DOCS / "data.md",
    DOCS / "troubleshooting.md",
    DOCS / "agents" / "callbacks.md",
    DOCS / "agents" / "reinforce.md",
    REWARD_MODEL_ASSETS,
]
ENTRIES = {env_id: str(spec.entry_point) for env_id, spec in gym.registry.items()}
IDS = sorted(env_id for env_id, entry in ENTRIES.items() if entry.startswith("textrlhf.envs."))
TASKS = {  # by id, what a text environment is about where nobody says otherwise
    env_id: gym.spec(env_id).kwargs.get("task") for env_id in IDS if ENTRIES[env_id].endswith(":TextEnv")
}
HEADINGS = [
    "Description",
    "Action Space",
    "Observation Space",
    "Rewards",
    "Starting State",
    "Episode End",
    "Information",
    "Arguments",
    "Version History",
]
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.M | re.S)
PROCESSES = "__main__"  # a block that spawns processes is a script of its own


def blocks(page):
    """Each block of code with the output that stands right behind it, in order; commands as the calls they are."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [(called(match[2]) if match[1] == "sh" else match[2], match[3]) for match in found]


def called(commands):
    """Lines for a shell as Python that does the same inside this process."""
    calls = ["from textrlhf.pipeline.commands.main import main"]
    for line in commands.splitlines():
        program, *words = shlex.split(line)
        assert program == "textrlhf", line
        calls.append(f"main({words})")
    return "\n".join(calls)


def models(code):
    """The shipped models that a piece of code needs."""
    named = {make_task(task, False).model for env_id, task in TASKS.items() if env_id in code}
    return named | {name for name in ("reviews", "tasks") if f'"{name}"' in code}


def reward_models(code):
    """The shipped reward models that a piece of code needs."""
    return {
        reward_model
        for task in TASKS
        if task in code
        if (reward_model := make_task(TASKS[task], False).reward_model) is not None
    }


def skip_unless_shipped(code):
    for kind, missing in (
        ("model", models(code) - set(shipped())),
        ("reward_model", reward_models(code) - set(shipped_reward_models())),
    ):
        if missing:
            pytest.skip(
                f"the shipped {kind} {min(missing)!r} is not there yet: python -m textrlhf.pipeline.assets makes it"
            )


def shown(text):
    """Output as it counts: without spaces at a line's end and empty lines at either end."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def section(page, heading):
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", page.read_text(encoding="utf-8"), re.M | re.S)[1]


def table(page, heading):
    """The cells of a table's first two columns: names, and values as Python writes them."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", section(page, heading), re.M)
    return {name: ast.literal_eval(default.strip("`")) for name, default in rows}


def defaults(settings):
    return {field.name: field.default for field in dataclasses.fields(settings)}


def page_of(env_id):
    (link,) = re.findall(rf"\[`{env_id}`\]\((\w+\.md)\)", (DOCS / "envs" / "README.md").read_text(encoding="utf-8"))
    return DOCS / "envs" / link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.slow
def test_the_code_of_a_page_runs_and_prints_what_stands_behind_it(page, tmp_path, monkeypatch):
    run = [(code, output) for code, output in blocks(page) if PROCESSES not in code]
    skip_unless_shipped("".join(code for code, _ in run))
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for code, output in run:
        printed = StringIO()
        with redirect_stdout(printed):
            exec(compile(code, f"{page.name}", "exec"), names)
        if output is not None:
            assert shown(printed.getvalue()) == shown(output), code


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if PROCESSES in page.read_text(encoding="utf-8")])
def test_code_with_processes_runs_as_a_script(page, tmp_path):
    (block,) = [block for block in blocks(page) if PROCESSES in block[0]]
    skip_unless_shipped(block[0])
    script = tmp_path / "script.py"
    script.write_text(block[0], encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert shown(done.stdout) == shown(block[1])


def test_the_classifier_of_the_how_to_judges(tmp_path):
    from transformers import GPT2Config, GPT2ForSequenceClassification

    from tiny_models import V, word_tokenizer

    tokenizer = word_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    config = GPT2Config(vocab_size=V, n_embd=8, n_layer=1, n_head=1, n_positions=32, num_labels=2, pad_token_id=1)
    model = GPT2ForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (code,) = [code for code, _ in blocks(DOCS / "own_prompts.md") if "def reward_model_from" in code]
    names = {}
    exec(code, names)
    scores = names["reward_model_from"](tmp_path)(["a2 a3", "a4"], [" a5", " a6 a7"])
    logits = [model(**tokenizer(text, return_tensors="pt")).logits[0].detach() for text in ("a2 a3 a5", "a4 a6 a7")]
    assert scores == pytest.approx([float(bad_good[1] - bad_good[0]) for bad_good in logits], abs=1e-5)


@pytest.mark.parametrize("env_id", IDS)
def test_every_id_has_a_page_with_all_headings(env_id):
    text = page_of(env_id).read_text(encoding="utf-8")
    opening = text.split("\n\n")[1]
    assert opening.startswith(f"`{env_id}`")
    assert re.findall(r"^## (.*)$", text, re.M) == HEADINGS


def test_every_page_is_that_of_an_id():
    assert {page_of(env_id) for env_id in IDS} == set((DOCS / "envs").glob("*.md")) - {DOCS / "envs" / "README.md"}


@pytest.mark.parametrize(
    ("heading", "settings"), [("Training", TrainConfig), ("Reading and scoring", RewardModelConfig)]
)
def test_the_settings_of_a_judge_are_whole_and_true(heading, settings):
    assert table(REWARD_MODEL_ASSETS, heading) == defaults(settings)


def test_every_schema_is_in_the_table():
    assert set(re.findall(r"`([a-z0-9-]+)`", section(DOCS / "data.md", "Schemas"))) >= set(SCHEMAS)


def test_every_number_of_an_evaluation_is_explained():
    cells = re.findall(r"^\| (`.*?`) \|", section(REWARD_MODEL_ASSETS, "Evaluation"), re.M)
    ends = [f"{name}_{end}" for name in MEANINGS if name.endswith("accuracy") for end in ("low", "high")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted([*MEANINGS, *ends])


@pytest.mark.parametrize("env_id", TASKS)
def test_the_defaults_of_a_task_are_those_its_page_tells(env_id):
    task, page = make_task(TASKS[env_id], False), page_of(env_id)
    if TASKS[env_id] is None:
        assert f"`{task.name}`: {task.max_new_tokens}," in page.read_text(encoding="utf-8")
        return
    true = {"task": TASKS[env_id], "max_new_tokens": task.max_new_tokens}
    assert table(page, "Arguments") == true | ({"turns": task.turns} if task.turns > 1 else {})


def test_the_help_of_the_environment_has_the_headings():
    from textrlhf.envs.text import TextEnv

    lines = [line.strip() for line in inspect.getdoc(TextEnv).splitlines()]
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == HEADINGS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert link.startswith("http") or (page.parent / link).is_file(), link
