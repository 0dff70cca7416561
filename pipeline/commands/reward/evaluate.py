"""`textrlhf reward evaluate`: compare a reward model with human judgements."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from ...console.arguments import parse
from ...console.checks import folder_to_write
from ...console.errors import UserError, as_user_error
from ...console.printing import key_values, line
from ...runs.reward_run import digest, existing_data, is_reward_run, open_reward_model
from ...runs.run_folder import stored_request

if TYPE_CHECKING:
    from ....reward_models.evaluation.results import Evaluation
    from ....reward_models.feedback import ReadReport


@dataclass
class Options:
    """Compare a reward model with human judgements: how often it agrees with them, and how well it is calibrated.

    Example:
      textrlhf reward evaluate runs/my-reward-model prefs.jsonl --split heldout
    """

    reward_model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REWARD_MODEL")]
    """a reward model's run, a saved one, a shipped one, any sequence classifier (a folder or hub id), or a function of
    yours, module:function"""
    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """a file, folder or hub id, in the forms that reward train reads"""
    split: Literal["all", "train", "heldout"] = "all"
    """which rows; use heldout for the file that the reward model was trained on"""
    scale: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    """scale of ratings, for rows without one; by default the lowest and the highest rating"""
    schema: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """the data set that DATA is, where its rows are not recognised (textrlhf data --schemas)"""
    raters: Literal["mean", "all", "spread"] | None = None
    """several ratings of a text, as in reward train"""
    tokenizer: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """whose tokenizer reads token ids, where DATA has such"""
    out: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """where to write evaluation.json and report.html, with charts and the hardest mistakes"""
    device: str = "auto"
    """where the reward model runs: auto, cpu or cuda"""
    json: bool = False
    """print one line of JSON"""


def evaluate(argv: Sequence[str]) -> None:
    """Run `textrlhf reward evaluate`."""
    options = parse(Options, argv, "reward evaluate")
    out = None if options.out is None else folder_to_write("--out", options.out)
    existing_data(options.data)

    from .... import reward_models
    from ....reward_models.evaluation.report import write_report
    from ....reward_models.feedback import described

    with as_user_error(ValueError):
        how = {name: getattr(options, name) for name in ("scale", "schema", "raters", "tokenizer")}
        found = reward_models.import_judgements(options.data, **how)
        judgements = found.judgements if options.split == "all" else found.of(options.split)
    if not judgements and options.split == "train":
        raise UserError(f"{options.data} holds out every row: leave out --split to use all rows")
    if not judgements:
        raise UserError(
            f"{options.data} holds nothing out: it has fewer than ten prompts and no row with the split 'heldout'; "
            "leave out --split to use all rows"
        )
    reward_model = open_reward_model(options.reward_model, options.device)
    with as_user_error(reward_models.RewardFunctionError):
        evaluation = reward_models.evaluate(reward_model, judgements)
    data = f"{described(judgements)} of {options.data}"
    if options.json:
        print(json.dumps(evaluation.numbers()))
    else:
        key_values([("Reward model", options.reward_model), ("Judgements", data)])
        print_report([found.report])
        line()
        print_figures(evaluation)
        if options.split != "heldout" and _trained_on(options.reward_model, options.data):
            line()
            line("The reward model was trained on this file: use --split heldout for rows that are new to it.")
    if out is not None:
        page = write_report(
            out,
            evaluation,
            title=f"The reward model {options.reward_model}",
            facts={"Reward model": options.reward_model, "Judgements": data},
            explain=getattr(reward_model, "explain", None),
        )
        if not options.json:
            line()
            key_values([("Report", str(page))])


def print_report(reports: Iterable[ReadReport]) -> None:
    """Print what the rows were recognised as and what was left out, if they are not all our own and used."""
    from ....reward_models.feedback.schemas.own import OWN

    for report in reports:
        if (
            report.refusals
            or report.left_out
            or report.tied
            or not report.schemas.keys() <= {schema.name for schema in OWN}
        ):
            for words in report.lines():
                line(words[:1].upper() + words[1:])


def print_figures(evaluation: Evaluation, names: Collection[str] | None = None) -> None:
    """Print an evaluation's metrics, all or those named, with their meaning."""
    from ....reward_models.evaluation.report import figures

    rows = figures(evaluation, names)
    width = max(len(shown) for _, shown, _ in rows)
    key_values([(name.replace("_", " "), f"{shown:>{width}}  {meaning}") for name, shown, meaning in rows])


def _trained_on(reward_model: str, data: str) -> bool:
    run = Path(reward_model)
    stored = stored_request(run) if is_reward_run(run) else None
    return stored is not None and stored["sha256"].get(stored["data"]) == digest(data)
