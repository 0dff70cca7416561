"""A reward model's folder.

The "last" head is saved as a Hugging Face sequence classifier, which loads there too; the "tokens" head as a trunk with
`head.safetensors` beside it. `config.json` has our RewardModelConfig under KEY, "textrlhf".
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...language.causal_lm import no_progress_bars, pick_device
from ...language.no_language_model import REWARD_MODEL as KEY
from ...records.folder import check_replaceable, recovered, whole_folder
from ...records.run import LOCK
from .config import ENSEMBLE_FILE, MODEL_FOLDER, RewardModelConfig
from .heads import TokenValues
from .network import Parts, RewardNetwork, state_width

ASSETS = Path(__file__).parent.parent / "assets"


class RewardModelFolderError(ValueError):
    """A folder without a usable reward model."""


def shipped_reward_models() -> list[str]:
    """The names of the reward models that come with the package."""
    return sorted(folder.name for folder in ASSETS.iterdir() if folder.is_dir()) if ASSETS.is_dir() else []


def find_reward_model(name: str | os.PathLike[str]) -> str:
    """Resolve the name of a reward model or ensemble to its folder, an absolute path, or return a hub id as it is."""
    given = os.fspath(name)
    if given in shipped_reward_models():
        return str(ASSETS / given)
    place = Path(os.path.abspath(os.path.expanduser(given)))
    if ((place / "checkpoints").is_dir() or (place / LOCK).is_file()) and not (place / MODEL_FOLDER).is_dir():
        if '"agent"' in _text(place / "config.json"):
            raise RewardModelFolderError(
                f"{given} is an agent's run, which has no reward model: name the run of `textrlhf reward train`, or a "
                "folder that RewardModel.save() wrote"
            )
        raise RewardModelFolderError(
            f"the run {given} has no reward model yet: finish it with `textrlhf reward resume {given}`"
        )
    for folder in (place / MODEL_FOLDER, place):
        if any((recovered(folder) / file).is_file() for file in ("config.json", ENSEMBLE_FILE)):
            return str(folder)
    if (place / "adapter_config.json").is_file():
        raise RewardModelFolderError(
            f"{given} is an adapter (LoRA), which is no whole reward model: name the run it lies in, whose "
            f"{MODEL_FOLDER} has it merged, or merge it with peft's merge_and_unload()"
        )
    known = f"one of the shipped reward models {shipped_reward_models()}"
    elsewhere = given.count("/") == 1 and not given.startswith((".", "~")) and not os.path.isabs(given)
    if place.exists() or not elsewhere or os.path.isdir(os.path.dirname(given)):
        raise RewardModelFolderError(
            f"no reward model at {given}: expected a folder written by RewardModel.save() or `textrlhf reward train`, "
            f'a sequence classifier\'s folder or hub id ("owner/name"), or {known}'
        )
    return given


def save_folder(path: str | os.PathLike[str], parts: Parts) -> None:
    """Write a reward model's folder, as a whole or not at all."""
    check_replaceable(path, "config.json")
    file = Path(path) / "config.json"
    if file.is_file() and f'"{KEY}"' not in _text(file):  # a language model's, say
        raise FileExistsError(f"{path} holds something other than a reward model saved here: name a new folder")
    network, tokenizer, config = parts
    network.model.config.__dict__[KEY] = {"format": 1, **dataclasses.asdict(config)}
    with whole_folder(path) as folder, no_progress_bars():
        network.model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if network.values is not None:
            head = {name: value.detach().contiguous() for name, value in network.values.state_dict().items()}
            save_file(head, folder / "head.safetensors")
        for file in folder.iterdir():
            file.chmod(0o644)  # weights are written readable for their owner only


def read_folder(place: str, device: str, reading: dict[str, Any]) -> Parts:
    """Load a reward model of ours, or any sequence classifier, from what `find_reward_model` returned.

    `reading` overrides the settings reads, end and label of the config.
    """
    from transformers import AutoConfig, AutoTokenizer

    if (Path(place) / ENSEMBLE_FILE).is_file():
        raise RewardModelFolderError(f"{place} is an ensemble: load it with load_reward_model() or Ensemble.load()")
    try:
        stored = getattr(AutoConfig.from_pretrained(place), KEY, None)
        config = _stored_config(place, stored, reading)
        network = _tokens_network(place) if config.head == "tokens" else _classifier_network(place, config)
        tokenizer = AutoTokenizer.from_pretrained(place)
    except RewardModelFolderError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().split("\n")[0]
        why = "its folder gave" if os.path.isdir(place) else "there is no such folder, and as a hub id it gave"
        raise RewardModelFolderError(f"the reward model {place!r} cannot be loaded: {why}: {first}") from error
    if stored is None:
        config = _foreign_config(config, network, tokenizer, reading)
    network.float().requires_grad_(False).to(pick_device(device))
    return Parts(network, tokenizer, config)


def _text(file: Path) -> str:
    return file.read_text(errors="replace") if file.is_file() else ""


def _stored_config(place: str, stored: Any, reading: dict[str, Any]) -> RewardModelConfig:
    if stored is None:
        return RewardModelConfig(**reading)
    try:
        known = dict(stored)
        if known.pop("format") != 1:
            raise ValueError("an unknown format")
        config = RewardModelConfig(**known)
    except (TypeError, ValueError, KeyError) as error:
        raise RewardModelFolderError(
            f'{place}/config.json has {stored!r} under "{KEY}" ({error}), which this version of textrlhf cannot read: '
            "train the reward model again, or download it again"
        ) from error
    return dataclasses.replace(config, **reading)


def _tokens_network(place: str) -> RewardNetwork:
    from transformers import AutoModel

    trunk = _load(AutoModel, place)
    file = Path(place) / "head.safetensors"
    if not file.is_file():
        raise RewardModelFolderError(f"{file} is missing: by its config.json the reward model has the 'tokens' head")
    state = load_file(file)
    values = TokenValues(trunk.get_input_embeddings().weight.shape[0], state_width(trunk))
    seen, expected = (
        {name: tuple(value.shape) for name, value in some.items()} for some in (state, values.state_dict())
    )
    if seen != expected:
        raise RewardModelFolderError(f"{file} has a head of the shapes {seen}: expected {expected}, as the trunk has")
    values.load_state_dict(state)
    return RewardNetwork(trunk, values)


def _classifier_network(place: str, config: RewardModelConfig) -> RewardNetwork:
    from transformers import AutoModelForSequenceClassification

    model = _load(AutoModelForSequenceClassification, place)
    labels = model.config.num_labels
    if labels > 2 and config.label is None:
        names = ", ".join(f"{i} {name}" for i, name in model.config.id2label.items())
        raise RewardModelFolderError(
            f"{place} is a classifier with {labels} labels ({names}): choose the one whose log-odds are the score, "
            "RewardModel.load(…, label=…)"
        )
    if config.label is not None and not 0 <= config.label < labels:
        raise RewardModelFolderError(f"label is {config.label}: {place} has the labels 0 to {labels - 1}")
    return RewardNetwork(model, None, config.label)


def _foreign_config(
    config: RewardModelConfig, network: RewardNetwork, tokenizer: Any, reading: dict[str, Any]
) -> RewardModelConfig:
    """How a classifier from elsewhere reads by default: as its tokenizer writes texts."""
    if not network.causal and "reads" not in reading:
        config = dataclasses.replace(config, reads="pair")
    ids, end = tokenizer("a")["input_ids"], tokenizer.eos_token_id
    ends = len(ids) > 1 and ids[-1] == end
    if network.causal and network.model.config.get_text_config().pad_token_id == end:
        ends = False  # a classifier that pads with this token reads the one before it
    return config if "end" in reading else dataclasses.replace(config, end=ends)


def _load(kind: Any, place: str) -> Any:
    """A Hugging Face model with all of its weights."""
    with no_progress_bars():
        model, info = kind.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    if missing := sorted(info["missing_keys"]):
        raise RewardModelFolderError(
            f"{place} is no reward model: it has no weights for {missing[:3]}, which would be random; if it is a "
            "language model, train a reward model on it with `textrlhf reward train` or train_reward_model()"
        )
    if wrong := sorted(info["mismatched_keys"]):
        key, seen, expected = wrong[0]
        raise RewardModelFolderError(
            f"{place} has {key} of the shape {tuple(seen)}: expected {tuple(expected)}, as its config.json says; "
            "download it again, or save the reward model again"
        )
    return model
