"""A reward model from judgements in one call: members, scale, saving, evaluation and report.

RUN/config.json, metrics.jsonl, checkpoints/    of the training; with several members in RUN/member-0, RUN/member-1, …
RUN/reward_model                                the trained reward model or ensemble, adapters merged
RUN/adapter                                     the adapters alone, with lora_rank
RUN/report.html, evaluation.json                its evaluation on held-out judgements, if any
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from ...records.checks import count
from ...records.metrics import read_metrics
from ...records.run import MODEL, Run
from ..ensemble import Ensemble, check_combine
from ..evaluation.evaluate import evaluate
from ..evaluation.report import write_report
from ..evaluation.results import Evaluation
from ..feedback import Judgement, described
from ..loading import load_reward_model
from ..reward_function import RewardFunctionError
from ..text.config import ADAPTER_FOLDER, MODEL_FOLDER
from ..text.reward_model import RewardModel
from .judgement_dataset import readable
from .score_scale import Model, Texts, check_reference, find_reference, name_of, sample_texts
from .train_config import TrainConfig
from .trainer import chosen_for, train

SMALL = 20_000_000  # weights of a trunk below which several threads are slower than one
log = logging.getLogger("textrlhf")
P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class TrainedRewardModel:
    """The result of `train_reward_model`."""

    reward_model: RewardModel | Ensemble
    evaluation: Evaluation | None  # None without held-out judgements


def _holding_run(function: Callable[P, T]) -> Callable[P, T]:
    """Keep all others from writing to the folder `run` meanwhile."""

    @functools.wraps(function)
    def held(*args: P.args, **kwargs: P.kwargs) -> T:
        run: Any = kwargs.get("run")
        if run is None:
            return function(*args, **kwargs)
        with Run.of(run).writing() as kwargs["run"]:
            return function(*args, **kwargs)

    return held


@_holding_run
def train_reward_model(
    judgements: Sequence[Judgement],
    model: Model,
    *,
    heldout: Sequence[Judgement] = (),
    members: int = 1,
    combine: str = "mean",
    reference: Model | None = None,
    reference_texts: int = 512,
    max_new_tokens: int = 32,
    config: TrainConfig | None = None,
    head: str = "auto",
    reads: str | None = None,
    end: bool = False,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    show: bool = True,
    facts: Mapping[str, str] | None = None,
) -> TrainedRewardModel:
    """Train a reward model on judgements, set the scale of its scores, save it and evaluate it.

    Args:
        judgements: what to train on, see `read_judgements`.
        model: a causal language model or an encoder: a shipped name, a folder, a hub id or a CausalLM.
        heldout: judgements for the loss while training and the evaluation.
        members: number of reward models, with the seeds config.seed, config.seed + 1, …; several form an `Ensemble`.
        combine: how an ensemble combines scores: "mean", "worst" or "cautious".
        reference: the language model whose texts get scores of mean 0 and standard deviation 1; by default `model`,
            where it can generate text. Without any, scores stay raw (`reward_model.normalised` is False).
        reference_texts: number of these texts; of 512 the standard deviation is known to 3 %, of 128 to 6 %.
        max_new_tokens: their maximum length.
        config: hyperparameters of `train`.
        head, reads: see `RewardModel.new`.
        end: read an end-of-text token after every response. What the responses end in themselves, such tokens or white
            space, is never read, as an environment's responses end in neither.
        run: a folder without a run, to save everything in; `load_reward_model(run)` loads the result.
        resume: finish the run in that folder, which was started with the same arguments.
        device: "auto", "cpu" or "cuda".
        threads: of torch; by default one for trunks below 20 million weights, where more are slower.
        show: whether to draw progress bars.
        facts: further lines for the report.
    """
    config = config or TrainConfig()
    for name, value in (("members", members), ("max_new_tokens", max_new_tokens), ("threads", threads)):
        if value is not None:
            count(name, value)
    count("reference_texts", reference_texts, least=2)
    check_combine(combine)
    check_reference(reference, model, [judgement.prompt for judgement in judgements])
    root = None if run is None else Run.of(run)
    folder = None if root is None else root.path
    if resume and folder is None:
        raise ValueError("resume=True needs run=…, the folder of the run to resume")
    places = _places(root, members)
    if root:
        _check_run(root, resume)
        if members > 1:
            root.write_config({**MODEL, "members": members, **dataclasses.asdict(config)})
    trained: list[RewardModel] = []  # by this call
    texts: Texts | None = None
    for i, place in enumerate(places):
        if place and (place.path / MODEL_FOLDER).is_dir():
            continue
        seed = config.seed + i
        shared = bool(config.lora)
        member = RewardModel.new(model, head, reads=reads, end=end, seed=seed, device=device, share_weights=shared)
        with _threads(threads, member):
            if not trained:
                prompts = [judgement.prompt for judgement in judgements]
                lm = find_reference(reference, model, member, device)
                if lm is not None:
                    of = (prompts, reference_texts, max_new_tokens, config.seed)
                    texts = sample_texts(lm, member, *of, show=show)
            result = train(
                member,
                judgements,
                dataclasses.replace(config, seed=seed),
                heldout=heldout,
                run=place,
                resume=place is not None and bool(place.steps()),
                title="reward model" if members == 1 else f"reward model {i + 1} of {members}",
                show=show,
            )
            if result.dropped and not trained:
                log.warning("left out %d judgements with more tokens than %s has positions", result.dropped, model)
            try:
                if texts is not None:
                    member.normalise(*texts)
            except RewardFunctionError as error:
                log.warning("the scores stay raw: %s", error)
        if place and config.lora:
            member.save_adapter(place.path / ADAPTER_FOLDER, name_of(model))
        trained.append(member.save(place.path / MODEL_FOLDER) if place else member)
    reward_model = _combined(trained, folder, places, combine, device)
    first: Any = reward_model.models[0] if isinstance(reward_model, Ensemble) else reward_model
    if config.overflow == "drop":
        heldout = readable(first, heldout)
    if not heldout:
        return TrainedRewardModel(reward_model, None)
    with _threads(threads, first):
        evaluation = evaluate(reward_model, heldout)
    if folder is not None:
        about = {
            "Model": f"{name_of(model)}, head: {first.config.head}, reads: {first.config.reads}",
            "Members": f"{members}, combined: {combine}" if members > 1 else "1",
            "Trained on": described(judgements),
            "Evaluated on": f"{described(heldout)}, held out",
            **_settings_in_words(config, first, len(judgements), name_of(reference or model)),
            **(facts or {}),
        }
        explain = reward_model.explain if isinstance(reward_model, RewardModel) else None
        title = f"The reward model {folder.name}"
        write_report(folder, evaluation, title=title, facts=about, curves=_curves(folder, members), explain=explain)
    return TrainedRewardModel(reward_model, evaluation)


def _check_run(run: Run, resume: bool) -> None:
    """Raise FileExistsError for the run of an agent, and for any run that is not to be resumed."""
    run.refuse_another(MODEL)
    if not resume and (run.has_checkpoints() or (run.path / MODEL_FOLDER).exists()):
        raise FileExistsError(f"run={str(run.path)!r} already holds a run: pass resume=True, or name another folder")


def _settings_in_words(config: TrainConfig, member: RewardModel, n_judgements: int, reference: str) -> dict[str, str]:
    """How a reward model was trained, and what its scores mean."""
    chosen = chosen_for(config, member.network, n_judgements)
    source = f"0 is the mean of the texts of {reference}, 1 a standard deviation above"
    adapters = f", adapters of rank {chosen.lora_rank}" if chosen.lora else ""
    return {
        "Training": f"{chosen.epochs:g} epochs, {chosen.batch_size} judgements per step, learning rate "
        f"{chosen.learning_rate:.2g}{adapters}, seed {chosen.seed}",
        "Score": source if member.normalised else "raw, in log-odds",
    }


def _combined(
    trained: list[RewardModel], folder: Path | None, places: Sequence[Run | None], combine: str, device: str
) -> RewardModel | Ensemble:
    """The reward model or ensemble, saved and loaded by its name where there is a folder."""
    if folder is None:
        return trained[0] if len(places) == 1 else Ensemble(trained, combine)
    if len(places) > 1 and not (folder / MODEL_FOLDER).is_dir():
        saved = [RewardModel.load(place.path / MODEL_FOLDER, device=device) for place in places if place]
        Ensemble(saved, combine).save(folder / MODEL_FOLDER)
    return load_reward_model(folder / MODEL_FOLDER, device)


def _places(root: Run | None, members: int) -> Sequence[Run | None]:
    """Where each member is trained and saved."""
    if root is None or members == 1:
        return [root] * members
    return [Run(root.path / f"member-{i}") for i in range(members)]


@contextlib.contextmanager
def _threads(threads: int | None, reward_model: RewardModel) -> Iterator[None]:
    """Set the number of torch's threads for a while."""
    before = torch.get_num_threads()
    small = sum(weights.numel() for weights in reward_model.network.trunk.parameters()) < SMALL
    torch.set_num_threads(threads or (1 if small else before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _curves(folder: Path, members: int) -> list[dict[str, float]]:
    """The losses over the run; of several members their mean."""
    runs = [read_metrics(place.path / "metrics.jsonl") for place in _places(Run(folder), members) if place]
    return [
        {
            name: sum(row[name] for row in rows) / len(rows)
            for name in ("step", "loss", "heldout_loss")
            if all(row.get(name) is not None for row in rows)
        }
        for rows in zip(*runs, strict=False)
    ]
