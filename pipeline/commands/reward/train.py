"""`textrlhf reward train` and `textrlhf reward resume`: `train_reward_model` for a file of judgements."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ....records.run import MODEL, Run
from ....reward_models import RewardFunctionError, TrainConfig, train_reward_model
from ....reward_models.feedback import described
from ....reward_models.text.config import MODEL_FOLDER
from ...console.arguments import parse
from ...console.checks import at_least_one, check_device
from ...console.errors import UserError, as_user_error, files_as_user_errors
from ...console.printing import heading, key_values, line, try_next
from ...runs.reward_run import digest, existing_reward_run, read_data
from ...runs.run_folder import REWARD_COMMAND, damaged, new_run, save_request, stored_request
from .evaluate import print_figures, print_report

KEY_FIGURES = ("accuracy", "accuracy_if_longer_wins", "log_loss", "ece", "auroc", "label_accuracy", "spearman")


@dataclass
class Options:
    """Train a reward model on human judgements, and save it in a folder with its evaluation.

    Example:
      textrlhf reward train prefs.jsonl --model reviews --run runs/my-reward-model

    DATA has rows of these kinds, which may be mixed, with texts or chat messages:
      {"prompt", "chosen", "rejected"}     one response better than the other
      {"chosen", "rejected"}               whole dialogues: their common beginning is the prompt
      {"prompt", "completion", "label"}    good (true or 1) or bad (false or 0)
      {"prompt", "completion", "rating"}   on a scale; several people's in "ratings"
      {"prompt", "responses", "ranking"}   indices of the responses, best first
      {"prompt", "responses", "tie"}       true: neither of two is better

    Rows of many published data sets are recognised as they are: textrlhf data --schemas lists them, and
    textrlhf data DATA shows what a file holds.

    Rows with "split": "heldout" are for the evaluation; if no row names a split, those of every tenth prompt are.
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """a .jsonl, .json, .csv, .tsv or .parquet file, a folder of `datasets`, or a hub id"""
    model: Annotated[str, tyro.conf.arg(metavar="MODEL")]
    """what to train: a causal language model or an encoder, by folder or hub id, or a shipped one: reviews, tasks"""
    run: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """where to save it; by default runs/DATA-reward-model-SEED"""
    heldout: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """judgements to evaluate on; all of DATA is then for training, except rows with "split": "heldout\""""
    scale: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    """scale of ratings, for rows without one; by default the lowest and the highest rating"""
    schema: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """the data set that DATA is, where its rows are not recognised (textrlhf data --schemas)"""
    raters: Literal["mean", "all", "spread"] | None = None
    """several ratings of a text: their mean, each, or the mean weighted by how well people agree; by default the mean
    of those in one row"""
    tokenizer: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """whose tokenizer reads token ids, where DATA has such"""
    members: int = 1
    """train several reward models with different seeds, and save them as an ensemble"""
    combine: Literal["mean", "worst", "cautious"] = "mean"
    """how an ensemble combines scores: the mean, the lowest, or the mean minus the variance"""
    head: Literal["auto", "last", "tokens"] = "auto"
    """read the score at the last token, or sum it over the response's tokens; auto sums for small causal models"""
    reads: Literal["text", "pair", "response"] | None = None
    """what is read: the response after the prompt, as a pair with it, or alone; by default text, for encoders pair"""
    end: bool = False
    """read an end-of-text token after every response; what responses end in themselves is never read"""
    reference: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """language model whose texts get scores of mean 0 and standard deviation 1; by default MODEL, if it can write"""
    reference_texts: Annotated[int, tyro.conf.arg(metavar="N")] = 512
    """number of these texts: fewer take less time, and set the scale less exactly (512 to 3 %, 128 to 6 %)"""
    max_new_tokens: int = 32
    """maximum length of these texts"""
    device: str = "auto"
    """where to train: auto, cpu or cuda"""
    threads: int | None = None
    """threads of torch; by default one for models below 20 million weights, for which more are slower"""
    quiet: bool = False
    """print nothing but the result"""
    hyperparameters: TrainConfig = field(default_factory=TrainConfig)


@dataclass
class ResumeOptions:
    """Finish training a reward model that was interrupted, as if it had never stopped.

    Example:
      textrlhf reward resume runs/my-reward-model
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """the run's folder, as given to reward train --run"""
    quiet: bool = False
    """print nothing but the result"""


def train(argv: Sequence[str]) -> None:
    """Run `textrlhf reward train`."""
    options = parse(Options, argv, "reward train")
    for flag in ("members", "max_new_tokens", "threads"):
        at_least_one(f"--{flag.replace('_', '-')}", getattr(options, flag))
    check_device(options.device)
    run = new_run(
        options.run or f"runs/{Path(options.data).stem}-reward-model-{options.hyperparameters.seed}", REWARD_COMMAND
    )
    files = [options.data] if options.heldout is None else [options.data, options.heldout]
    _train(options, run, {file: digest(file) for file in files}, resume=False)


def resume(argv: Sequence[str]) -> None:
    """Run `textrlhf reward resume`."""
    options = parse(ResumeOptions, argv, "reward resume")
    resume_run(existing_reward_run(options.run), quiet=options.quiet)


def resume_run(run: Path, *, quiet: bool) -> None:
    """Finish a reward model's run, or report that it is finished."""
    stored = stored_request(run) or {}
    try:
        stored["scale"] = stored["scale"] and tuple(stored["scale"])
        stored["hyperparameters"] = TrainConfig(**stored["hyperparameters"])
        added = {"schema": None, "raters": None, "tokenizer": None}  # after the first runs were stored
        known = {name: {**added, **stored}[name] for name in [field.name for field in dataclasses.fields(Options)]}
        options, sha256 = Options(**{**known, "quiet": quiet}), dict(stored["sha256"])
    except (TypeError, ValueError, KeyError) as error:
        raise damaged(run, error) from error
    check_device(options.device)
    _train(options, run, sha256, resume=True)


def _train(options: Options, run: Path, sha256: Mapping[str, str], *, resume: bool) -> None:
    how = {name: getattr(options, name) for name in ("scale", "schema", "raters", "tokenizer")}
    judgements, heldout, reports = read_data(options.data, options.heldout, how, sha256)
    evaluated = (run / "report.html").exists()
    if resume and (run / MODEL_FOLDER).is_dir() and (evaluated or not heldout):
        heading(f"{run} is finished: its reward model is trained{' and evaluated' if evaluated else ''}.")
        key_values(_places(run))
        return
    files = options.data if options.heldout is None else f"{options.data} and {options.heldout}"
    if not options.quiet:
        heading(f"{'Resuming' if resume else 'Training'} {run}")
        line(f"{described(judgements)} to train on, {described(heldout)} held out, from {files}")
        print_report(reports)
    names = ("members", "combine", "reference", "reference_texts", "max_new_tokens", "head", "reads", "end")
    given = {name: getattr(options, name) for name in (*names, "device", "threads")}
    given |= {"resume": resume, "config": options.hyperparameters, "show": not options.quiet}
    try:
        with (
            as_user_error(ValueError, OSError, FloatingPointError, RewardFunctionError),
            files_as_user_errors(),
            Run(run).writing() as given["run"],
        ):
            if not resume:
                Run(new_run(str(run), REWARD_COMMAND)).refuse_another(MODEL)  # again: now nobody else can start one
                save_request(run, {"command": REWARD_COMMAND, **dataclasses.asdict(options), "sha256": sha256})
            trained = train_reward_model(judgements, options.model, heldout=heldout, facts={"Data": files}, **given)
    except KeyboardInterrupt:
        raise UserError(f"interrupted: resume with `textrlhf reward resume {run}`", status=130) from None
    if trained.evaluation is not None:
        print_figures(trained.evaluation, KEY_FIGURES)
    else:
        line("No judgements are held out, so the reward model is not evaluated: give --heldout FILE, or more prompts")
    if options.quiet:
        key_values([("Reward model", f"{run / MODEL_FOLDER}")])
        return
    line()
    key_values(_places(run))
    file = options.heldout or f"{options.data} --split heldout"
    file += "".join(f" --{name} {value}" for name in ("schema", "tokenizer") if (value := getattr(options, name)))
    try_next(
        [
            (f"textrlhf reward evaluate {run} {file}", "all metrics, with their meaning"),
            (f"textrlhf reward score {run} --prompt … --response …", "score a text of your own"),
            (f'gym.make("TextRLHF-v0", reward_model="{run}")', "in Python: an environment with this reward"),
        ]
    )


def _places(run: Path) -> list[tuple[str, str]]:
    parts = [("Reward model", run / MODEL_FOLDER), ("Report", run / "report.html")]
    return [
        *((name, str(path)) for name, path in parts if path.exists()),
        ("Run", f"{run} (metrics.jsonl: the losses)"),
    ]
