"""A judge's folder.

A head that reads at the last token is saved as Hugging Face saves a sequence classifier, so it loads there too; one
that sums over tokens as a trunk with `head.safetensors` beside it. Under "textrlhf" `config.json` has what scores mean.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...language.causal_lm import no_progress_bars, pick_device
from ...records.folder import check_replaceable, recovered, whole_folder
from .heads import TokenValues
from .network import RewardNetwork, state_width
from .reward_model import JudgeConfig, RewardModel, forget

if TYPE_CHECKING:
    from ..ensemble import Ensemble

ASSETS = Path(__file__).parent.parent / "assets"
KEY = "textrlhf"  # in config.json
IN_A_RUN = "judge"  # the folder of a run in which its judge lies


class JudgeFolderError(ValueError):
    """A folder that holds no judge that could serve, and what to do about it."""


def shipped_judges() -> list[str]:
    """The names of the judges that come with the package."""
    return sorted(folder.name for folder in ASSETS.iterdir() if folder.is_dir()) if ASSETS.is_dir() else []


def find_judge(name: str | os.PathLike[str]) -> str:
    """Where a judge lies: its folder as an absolute path, or a hub id as it is."""
    given = os.fspath(name)
    if given in shipped_judges():
        return str(ASSETS / given)
    place = Path(os.path.abspath(os.path.expanduser(given)))
    if (place / "checkpoints").is_dir() and not (place / IN_A_RUN).is_dir():
        raise JudgeFolderError(f"the run {given} has no judge yet: `textrlhf reward resume {given}` finishes it")
    for folder in (place / IN_A_RUN, place):
        if any((recovered(folder) / file).is_file() for file in ("config.json", "ensemble.json")):
            return str(folder)
    known = f"one of the shipped judges {shipped_judges()}"
    elsewhere = given.count("/") == 1 and not given.startswith((".", "~")) and not os.path.isabs(given)
    if place.exists() or not elsewhere or os.path.isdir(os.path.dirname(given)):
        raise JudgeFolderError(
            f"no judge at {given}: expected a folder that RewardModel.save() or `textrlhf reward train` wrote, a "
            f'sequence classifier\'s folder or hub id ("owner/name"), or {known}'
        )
    return given


def load_any(place: str, device: str, reading: dict[str, Any]) -> RewardModel | Ensemble:
    """Load whatever judge lies at a place that `find_judge` found."""
    from ..ensemble import Ensemble

    if (Path(place) / "ensemble.json").is_file():
        return Ensemble.load(place, load_member=lambda folder: load_reward_model(folder, device, {}))
    return load_reward_model(place, device, reading)


def save_reward_model(judge: RewardModel, path: str | os.PathLike[str]) -> RewardModel:
    """Write a judge's folder, whole or not at all; return the judge that is named by it."""
    check_replaceable(path, "config.json")
    _check_a_judges(Path(path) / "config.json")
    network = judge.network
    network.model.config.__dict__[KEY] = {"format": 1, **dataclasses.asdict(judge.config)}
    with whole_folder(path) as folder, no_progress_bars():
        network.model.save_pretrained(folder)
        judge.tokenizer.save_pretrained(folder)
        if network.values is not None:
            save_file(
                {name: value.detach().contiguous() for name, value in network.values.state_dict().items()},
                folder / "head.safetensors",
            )
        for file in folder.iterdir():
            file.chmod(0o644)  # weights are written for their owner only
    name = os.path.abspath(path)
    forget(name)
    return RewardModel(network, judge.tokenizer, judge.config, name)


def _check_a_judges(file: Path) -> None:
    """Refuse to write a judge over a language model, say."""
    try:
        known = not file.is_file() or KEY in json.loads(file.read_text())
    except (ValueError, TypeError):
        known = False
    if not known:
        raise FileExistsError(f"{file.parent} holds something else than a judge that was saved here: name a new folder")


def load_reward_model(name: str | os.PathLike[str], device: str, reading: dict[str, Any]) -> RewardModel:
    """Load a judge of ours, or a sequence classifier from elsewhere."""
    from transformers import AutoConfig, AutoTokenizer

    place = find_judge(name)
    try:
        config = AutoConfig.from_pretrained(place)
        told = getattr(config, KEY, None)
        judge_config = _judge_config(place, told, reading)
        network = _tokens_network(place) if judge_config.head == "tokens" else _classifier_network(place, judge_config)
        tokenizer = AutoTokenizer.from_pretrained(place)
    except JudgeFolderError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().split("\n")[0]
        why = "its folder gave" if os.path.isdir(place) else "it is no folder here, and as a hub id it gave"
        raise JudgeFolderError(f"the judge {os.fspath(name)!r} cannot be loaded: {why}: {first}") from error
    if told is None:
        judge_config = _as_usual(judge_config, network, tokenizer, reading)
    network.float().requires_grad_(False).to(pick_device(device))
    judge = RewardModel(network, tokenizer, judge_config, place)
    judge.reading = reading
    return judge


def _judge_config(place: str, told: Any, reading: dict[str, Any]) -> JudgeConfig:
    known = {field.name for field in dataclasses.fields(JudgeConfig)}
    if unknown := set(reading) - {"reads", "end", "label"}:
        raise TypeError(f"unknown argument {min(unknown)!r}: a judge's loading takes reads, end and label")
    if told is None:
        return JudgeConfig(**reading)
    try:
        stored = dict(told)
        if stored.pop("format") != 1 or set(stored) - known:
            raise ValueError("of another format")
        return dataclasses.replace(JudgeConfig(**stored), **reading)
    except (TypeError, ValueError, KeyError) as error:
        raise JudgeFolderError(
            f'{place}/config.json has {told!r} under "{KEY}" ({error}): expected what this version of textrlhf writes; '
            "train the judge again, or fetch it again"
        ) from error


def _tokens_network(place: str) -> RewardNetwork:
    from transformers import AutoModel

    with no_progress_bars():
        loaded: Any = AutoModel.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    trunk, info = loaded
    _refuse_missing(place, info)
    file = Path(place) / "head.safetensors"
    if not file.is_file():
        raise JudgeFolderError(f"{file} is missing: the folder's config says that its head sums over tokens")
    state = load_file(file)
    values = TokenValues(trunk.get_input_embeddings().weight.shape[0], state_width(trunk))
    wanted = {name: tuple(value.shape) for name, value in values.state_dict().items()}
    seen = {name: tuple(value.shape) for name, value in state.items()}
    if seen != wanted:
        raise JudgeFolderError(f"{file} has a head of the shapes {seen}: expected {wanted}, as the trunk beside it")
    values.load_state_dict(state)
    return RewardNetwork(trunk, values)


def _classifier_network(place: str, config: JudgeConfig) -> RewardNetwork:
    from transformers import AutoModelForSequenceClassification

    with no_progress_bars():
        loaded: Any = AutoModelForSequenceClassification.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    model, info = loaded
    _refuse_missing(place, info)
    labels = model.config.num_labels
    if labels > 2 and config.label is None:
        names = ", ".join(f"{i} {name}" for i, name in model.config.id2label.items())
        raise JudgeFolderError(
            f"{place} is a classifier of {labels} labels ({names}): say whose log-odds are the score, "
            "RewardModel.load(…, label=…)"
        )
    if config.label is not None and not 0 <= config.label < labels:
        raise JudgeFolderError(f"label is {config.label}: {place} has the labels 0 to {labels - 1}")
    return RewardNetwork(model, None, config.label)


def _as_usual(config: JudgeConfig, network: RewardNetwork, tokenizer: Any, reading: dict[str, Any]) -> JudgeConfig:
    """How a classifier from elsewhere reads, where nothing is said: as its tokenizer writes texts."""
    if not network.causal and "reads" not in reading:
        config = dataclasses.replace(config, reads="pair")
    ids, end = tokenizer("a")["input_ids"], tokenizer.eos_token_id
    ends = len(ids) > 1 and ids[-1] == end
    if network.causal and network.model.config.get_text_config().pad_token_id == end:
        ends = False  # where it pads with the same token, a classifier reads before it
    return config if "end" in reading else dataclasses.replace(config, end=ends)


def _refuse_missing(place: str, info: dict[str, Any]) -> None:
    if missing := sorted(info["missing_keys"]):
        raise JudgeFolderError(
            f"{place} is no judge: it has no weights for {missing[:3]}, which would be random; if it is a language "
            "model, train a judge on it (`textrlhf reward train`, or RewardModel.new() and train())"
        )
    if wrong := sorted(info["mismatched_keys"]):
        key, seen, wanted = wrong[0]
        raise JudgeFolderError(
            f"{place} has {key} of the shape {tuple(seen)}: expected {tuple(wanted)}, as its config.json says; fetch "
            "it again, or save the judge again"
        )
