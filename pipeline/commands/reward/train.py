"""`textrlhf reward train` and `textrlhf reward resume`: a reward model, from people's judgements to its report."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
import tyro

from ....records.metrics import read_metrics
from ....records.run import Run
from ....reward_models import Ensemble, RewardFunctionError, RewardModel, TrainConfig, load_reward_model
from ....reward_models import train as learn
from ....reward_models.training.train import readable
from ...console.arguments import parse
from ...console.checks import at_least_one, check_device
from ...console.errors import UserError, as_user_error
from ...console.printing import heading, key_values, line, try_next
from ...runs.reference_texts import Texts, find_reference, reference_texts
from ...runs.reward_run import MODEL_FOLDER, RewardRequest, check_new, digest, existing_reward_run, read_reward_request
from .evaluate import evaluated, figures, told, write_page

if TYPE_CHECKING:
    from ....reward_models.evaluation.evaluate import Evaluation
    from ....reward_models.feedback import Judgement

SMALL = 20_000_000  # weights of a trunk for which more threads are slower
KEY_FIGURES = {"accuracy", "accuracy_if_longer_wins", "log_loss", "ece", "auroc", "label_accuracy", "label_ece"}
KEY_FIGURES |= {"spearman"}


@dataclass
class Options:
    """Learn what people like from their judgements, and keep the reward model in a folder.

    Example:
      textrlhf reward train prefs.jsonl --model reviews --run runs/my-reward-model

    DATA has one JSON object a line, of these kinds, mixed as you like:
      {"prompt", "chosen", "rejected"}     one response better than the other
      {"chosen", "rejected"}               whole dialogues: what they share is the prompt
      {"prompt", "completion", "label"}    good (true or 1) or bad (false or 0)
      {"prompt", "completion", "rating"}   on a scale
      {"prompt", "responses", "ranking"}   indices of the responses, best first

    Rows with "split": "heldout" are kept for the evaluation; where no row names a split, those of every tenth prompt.
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """JSONL, one judgement a line"""
    model: Annotated[str, tyro.conf.arg(metavar="MODEL")]
    """what the reward model grows from: a causal language model or an encoder, by folder or hub id, or a shipped one:
    reviews, tasks"""
    run: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """where to keep it; by default runs/DATA-reward model-SEED"""
    heldout: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """judgements to evaluate on; DATA is then learned from whole, but for rows with "split": "heldout\""""
    scale: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    """ends of the scale of ratings, for rows that name none; by default the lowest and the highest rating"""
    members: int = 1
    """train several reward models that differ by their seed, and let them reward model together"""
    combine: Literal["mean", "worst", "cautious"] = "mean"
    """what several say together: their mean, the lowest, or the mean less the variance"""
    head: Literal["auto", "last", "tokens"] = "auto"
    """where the score is read: at the last token, or summed over the response's; auto sums for small causal models"""
    reads: Literal["text", "pair", "response"] | None = None
    """what the reward model reads: the response behind the prompt, as a pair with it, or alone; by default text, and
    pair
    for encoders"""
    reference: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """whose own texts get scores of mean 0 and deviation 1; by default the model, where it can write"""
    max_new_tokens: int = 32
    """how long the reference's texts may be"""
    device: str = "auto"
    """where to train: auto, cpu or cuda"""
    threads: int | None = None
    """threads torch may use; by default one for models below 20 million weights, for which more are slower"""
    quiet: bool = False
    """print nothing but the result"""
    hyperparameters: TrainConfig = field(default_factory=TrainConfig)


@dataclass
class ResumeOptions:
    """Finish a reward model whose training was interrupted, as if it had never stopped.

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
    config = options.hyperparameters
    for flag in ("members", "max_new_tokens", "threads"):
        at_least_one(f"--{flag.replace('_', '-')}", getattr(options, flag))
    check_device(options.device)
    run = Path(options.run or f"runs/{Path(options.data).stem}-reward model-{config.seed}")
    check_new(run)
    given = {name: value for name, value in vars(options).items() if name not in ("run", "quiet", "hyperparameters")}
    files = [options.data] if options.heldout is None else [options.data, options.heldout]
    request = RewardRequest(**given, sha256={file: digest(file) for file in files}, training=dataclasses.asdict(config))
    train_reward_model(request, run, quiet=options.quiet)


def resume(argv: Sequence[str]) -> None:
    """Run `textrlhf reward resume`."""
    options = parse(ResumeOptions, argv, "reward resume")
    resume_run(existing_reward_run(options.run), quiet=options.quiet)


def resume_run(run: Path, *, quiet: bool) -> None:
    """Finish a reward model's run, or say that it is finished."""
    request = read_reward_request(run)
    if (run / MODEL_FOLDER).is_dir() and ((run / "report.html").exists() or not request.read()[1]):
        heading(f"{run} is finished: its reward model is trained{' and evaluated' if _has_report(run) else ''}.")
        key_values(_places(run))
        return
    if not quiet:
        heading(f"{run} goes on")
    train_reward_model(request, run, quiet=quiet)


def train_reward_model(request: RewardRequest, run: Path, *, quiet: bool) -> None:
    """From judgements to a reward model and its report; what an interrupted run has done is not done again."""
    learned, heldout = request.read()
    if not quiet:
        files = request.data if request.heldout is None else f"{request.data} and {request.heldout}"
        heading(f"{told(learned)} to learn from, {told(heldout)} held out, from {files}")
    check_device(request.device)
    with interruptible(run):
        _train_members(request, run, learned, heldout, quiet=quiet)
        reward_model = load_reward_model(run / MODEL_FOLDER, request.device)
        one: Any = reward_model.models[0] if isinstance(reward_model, Ensemble) else reward_model
        if request.config(0).overflow == "drop":
            heldout = readable(one, heldout)
        evaluation = None
        if heldout:
            with _threads(request.threads, one):
                evaluation = evaluated(reward_model, heldout)
            about = _about(request, one, learned, heldout)
            write_page(
                run, evaluation, reward_model, f"The reward model {run.name}", about, _curves(request.folders(run))
            )
    _report(request, run, evaluation, quiet=quiet)


@contextlib.contextmanager
def interruptible(run: Path) -> Iterator[None]:
    """Held around the work: Ctrl-C ends it with what to do next."""
    try:
        yield
    except KeyboardInterrupt:
        remedy = f"`textrlhf reward resume {run}` goes on from where it was"
        if not (run / "command.json").exists():
            remedy = "nothing was learned yet"
        raise UserError(f"interrupted: {remedy}", status=130) from None


def _train_members(
    request: RewardRequest, run: Path, learned: Sequence[Judgement], heldout: Sequence[Judgement], *, quiet: bool
) -> None:
    folders = request.folders(run)
    missing = [i for i, folder in enumerate(folders) if not (folder / MODEL_FOLDER).is_dir()]
    texts: Texts | None = None
    for n, i in enumerate(missing):
        reward_model = _new(request, i)
        with _threads(request.threads, reward_model):
            if n == 0:
                texts = _reference_texts(request, reward_model, learned, quiet=quiet)
                request.save(run)
            title = "reward_model" if len(folders) == 1 else f"reward model {i + 1} of {len(folders)}"
            with as_user_error(ValueError, FloatingPointError):
                trained = learn(
                    reward_model,
                    learned,
                    request.config(i),
                    heldout=heldout,
                    run=folders[i],
                    resume=bool(Run(folders[i]).steps()),
                    title=title,
                    show=not quiet,
                )
            if trained.dropped and n == 0:
                line(f"Left out, with more tokens than {request.model} has positions: {trained.dropped:,} judgements")
            _give_scale(reward_model, texts)
            reward_model.save(folders[i] / MODEL_FOLDER)
    if len(folders) > 1 and not (run / MODEL_FOLDER).is_dir():
        members = [RewardModel.load(folder / MODEL_FOLDER, device=request.device) for folder in folders]
        Ensemble(members, request.combine).save(run / MODEL_FOLDER)


def _give_scale(reward_model: RewardModel, texts: tuple[Sequence[str], Sequence[str]] | None) -> None:
    """Normalise the scores by the reference's own texts, where there are some to go by."""
    if texts is None:
        return
    try:
        reward_model.normalise(*texts)
    except RewardFunctionError as error:
        line(f"The scores keep the scale of log-odds: {error}")


def _new(request: RewardRequest, member: int) -> RewardModel:
    with as_user_error(ValueError, OSError):
        return RewardModel.new(
            request.model, request.head, reads=request.reads, seed=request.config(member).seed, device=request.device
        )


@contextlib.contextmanager
def _threads(wanted: int | None, reward_model: RewardModel) -> Iterator[None]:
    """Give torch as many threads as were asked for, or as serve a trunk of this size."""
    before = torch.get_num_threads()
    small = sum(weights.numel() for weights in reward_model.network.trunk.parameters()) < SMALL
    torch.set_num_threads(wanted or (1 if small else before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _reference_texts(
    request: RewardRequest, reward_model: RewardModel, learned: Sequence[Judgement], *, quiet: bool
) -> Texts | None:
    lm = find_reference(request.reference, request.model, reward_model, request.device)
    if lm is None:
        line(f"The scores keep the scale of log-odds: {request.model} writes no texts to measure (--reference MODEL)")
        return None
    if not quiet:
        line(f"The scale of the scores comes from texts that {request.reference or request.model} writes")
    prompts = [one.prompt for one in learned]
    texts = reference_texts(lm, reward_model, prompts, request.max_new_tokens, request.training["seed"])
    if texts is None:
        line("The scores keep the scale of log-odds: no judgement has a prompt that a model could go on from")
    return texts


def _about(
    request: RewardRequest, reward_model: RewardModel, learned: Sequence[Judgement], heldout: Sequence[Judgement]
) -> dict[str, str]:
    """What a reader of the report should know."""
    config = request.config(0)
    reference = request.reference or request.model
    measured = (reward_model.config.shift, reward_model.config.scale) != (0.0, 1.0)
    about = {
        "Model": f"{request.model}, head: {reward_model.config.head}, reads: {reward_model.config.reads}",
        "Learned from": f"{told(learned)} of {request.data}",
        "Evaluated on": f"{told(heldout)} of {request.heldout or request.data}, held out",
        "Training": f"{config.epochs:g} epochs, {config.batch_size} judgements a step, seed {config.seed}",
        "Score": f"0 is the mean of what {reference} writes, 1 a deviation above" if measured else "log-odds",
    }
    if request.members > 1:
        about["Members"] = f"{request.members}, combined: {request.combine}"
    return about


def _curves(folders: Sequence[Path]) -> list[dict[str, float]]:
    """The losses over the run, of several members their mean."""
    members = [read_metrics(folder / "metrics.jsonl") for folder in folders]
    names = ("step", "loss", "heldout_loss")
    return [
        {
            name: sum(row[name] for row in rows) / len(rows)
            for name in names
            if all(row.get(name) is not None for row in rows)
        }
        for rows in zip(*members, strict=False)
    ]


def _report(request: RewardRequest, run: Path, evaluation: Evaluation | None, *, quiet: bool) -> None:
    if not quiet:
        line()
    if evaluation is not None:
        key_values(figures(evaluation, KEY_FIGURES))
    else:
        line(
            "Nothing is held out, so nothing is known of how good the reward model is: give --heldout FILE, or more "
            "prompts"
        )
    if quiet:
        key_values([("RewardFunction", f"{run / MODEL_FOLDER}")])
        return
    line()
    key_values(_places(run))
    file = request.heldout or f"{request.data} --split heldout"
    try_next(
        [
            (f"textrlhf reward evaluate {run} {file}", "every number, with its meaning"),
            (f"textrlhf reward score {run} --prompt … --response …", "reward model a text of your own"),
            (f'gym.make("TextRLHF-v0", reward_model="{run}")', "in Python: a environment whose reward it is"),
        ]
    )


def _places(run: Path) -> list[tuple[str, str]]:
    report = [("Report", f"{run / 'report.html'}")] if _has_report(run) else []
    return [("RewardFunction", f"{run / MODEL_FOLDER}"), *report, ("Run", f"{run} (metrics.jsonl has every loss)")]


def _has_report(run: Path) -> bool:
    return (run / "report.html").exists()
