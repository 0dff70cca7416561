"""`textrlhf reward evaluate`: hold a reward model against people's judgements."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ...console.arguments import parse
from ...console.errors import UserError, as_user_error
from ...console.printing import key_values, line
from ...runs.reward_run import digest, existing_file, is_reward_run, read_reward_request
from .main import open_reward_model

if TYPE_CHECKING:
    from ....reward_models.evaluation.evaluate import Evaluation
    from ....reward_models.feedback import Judgement


@dataclass
class Options:
    """Hold a reward model against people's judgements: how often it agrees with them, and how sure it rightly is.

    Example:
      textrlhf reward evaluate runs/my-reward-model prefs.jsonl --split heldout
    """

    reward_model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL_FOLDER")]
    """a reward model's run, a saved reward model, a shipped one by name, or any sequence classifier (a folder or hub
    id)
    """
    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """JSONL, one judgement a line, in the forms that reward train reads"""
    split: Literal["all", "train", "heldout"] = "all"
    """which of them; a reward model's own training file is evaluated on its heldout split"""
    scale: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    """ends of the scale of ratings, for rows that name none; by default the lowest and the highest rating"""
    out: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """where to write report.html, with pictures and the hardest mistakes, and evaluation.json"""
    device: str = "auto"
    """where the reward model runs: auto, cpu or cuda"""
    json: bool = False
    """print one line of JSON"""


def evaluate(argv: Sequence[str]) -> None:
    """Run `textrlhf reward evaluate`."""
    options = parse(Options, argv, "reward evaluate")
    if options.out is not None and Path(options.out).exists() and not Path(options.out).is_dir():
        raise UserError(f"--out {options.out} is a file: name a folder")
    existing_file(options.data)

    from ....reward_models import read_judgements

    with as_user_error(ValueError):
        split = None if options.split == "all" else options.split
        judgements = read_judgements(options.data, split, scale=options.scale)
    if not judgements:
        raise UserError(
            f"{options.data} holds nothing out: it has fewer than ten prompts and none of the split 'heldout'; leave "
            "--split away to take all rows"
        )
    reward_model = open_reward_model(options.reward_model, options.device)
    evaluation = evaluated(reward_model, judgements)
    if options.json:
        print(json.dumps(evaluation.numbers()))
    else:
        key_values([("RewardFunction", f"{reward_model!r}"), ("Judgements", f"{told(judgements)} of {options.data}")])
        line()
        key_values(figures(evaluation))
        if options.split != "heldout" and _learned_from(options.reward_model, options.data):
            line()
            line(
                "The reward model learned from this file: only --split heldout says how it fares on what is new to it."
            )
    if options.out is not None:
        about = {"RewardFunction": options.reward_model, "Judgements": f"{told(judgements)} of {options.data}"}
        page = write_page(options.out, evaluation, reward_model, f"The reward model {options.reward_model}", about)
        if not options.json:
            line()
            key_values([("Report", str(page))])


def evaluated(reward_model: Any, judgements: Sequence[Judgement]) -> Evaluation:
    """Evaluate a reward model; what it cannot read is the user's to put right."""
    from ....reward_models import RewardFunctionError
    from ....reward_models import evaluate as hold_against

    with as_user_error(RewardFunctionError):
        return hold_against(reward_model, judgements)


def write_page(
    folder: str | Path,
    evaluation: Evaluation,
    reward_model: Any,
    title: str,
    about: dict[str, str],
    curves: Sequence[dict[str, float]] = (),
) -> Path:
    """Write an evaluation's report, the tokens of its texts shaded where the reward model can say what each adds."""
    from ....reward_models.evaluation.report import write_report

    explain = getattr(reward_model, "explain", None)
    return write_report(folder, evaluation, title=title, facts=about, curves=curves, explain=explain)


def figures(evaluation: Evaluation, names: Collection[str] | None = None) -> list[tuple[str, str]]:
    """An evaluation's numbers, those named or all, each with what it means."""
    from ....reward_models.evaluation.report import MEANINGS

    numbers = {name: value for name, value in evaluation.numbers().items() if names is None or name in names}
    written = {}
    for name, value in numbers.items():
        form = MEANINGS[name][0]
        written[name] = f"{100 * value:.1f} %" if form == "%" else format(value, form)
    width = max(map(len, written.values()))
    return [(name.replace("_", " "), f"{shown:>{width}}  {MEANINGS[name][1]}") for name, shown in written.items()]


def told(judgements: Sequence[Judgement]) -> str:
    """Say how many there are of each kind: "3,000 pairs and 1 label"."""
    from ....reward_models.feedback import counts

    parts = [f"{n:,} {kind if n > 1 else kind[:-1]}" for kind, n in counts(judgements).items() if n]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts) or "nothing"


def _learned_from(reward_model: str, data: str) -> bool:
    run = Path(reward_model)
    if not is_reward_run(run):
        return False
    request = read_reward_request(run)
    return request.sha256.get(request.data) == digest(data)
