"""A new reward model: an untrained head on a pretrained trunk."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import torch

from ...language.causal_lm import CausalLM, LanguageError, load, no_progress_bars, pick_device, shipped
from ...language.hf import with_parameters_of
from .config import HEADS, RewardModelConfig
from .heads import TokenValues
from .network import Parts, RewardNetwork, state_width

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SMALL = 20_000_000  # weights of a trunk below which the head that sums over tokens needs fewer judgements


def new_parts(
    model: str | os.PathLike[str] | CausalLM,
    head: str,
    *,
    reads: str | None,
    end: bool,
    seed: int,
    device: str,
    share_weights: bool = False,
) -> Parts:
    """Put an untrained head on a copy of a causal language model, or on an encoder; see `RewardModel.new`."""
    if head not in (*HEADS, "auto"):
        raise ValueError(f'head is {head!r}: expected "auto", {", ".join(map(repr, HEADS))}')
    trunk, tokenizer = _trunk(model, seed, share_weights)
    network = RewardNetwork(trunk, TokenValues(1, 1))  # to find out whether the trunk is causal
    if head == "auto":
        size = sum(weights.numel() for weights in trunk.parameters())
        head = "tokens" if network.causal and size < SMALL else "last"
    reads = reads or ("text" if network.causal else "pair")
    if head == "tokens":
        if not network.causal and reads == "text":
            raise ValueError('head="tokens" on an encoder needs reads="pair" or "response": the response must be known')
        vocab_size = trunk.get_input_embeddings().weight.shape[0]
        network = RewardNetwork(trunk, TokenValues(vocab_size, state_width(trunk)))
    else:
        network = RewardNetwork(_classifier(trunk, tokenizer, end, seed))
    network.float().to(pick_device(device))
    network.borrowed = share_weights
    return Parts(network, tokenizer, RewardModelConfig(head=head, reads=reads, end=end))


def is_language_model(name: str) -> bool:
    """Whether a model is causal with its head by its config, or is for `load` to report on."""
    from transformers import AutoConfig

    try:
        made_as = [] if name in shipped() else AutoConfig.from_pretrained(name).architectures or []
    except (OSError, ValueError):
        return True
    return not made_as or made_as[0].endswith(("ForCausalLM", "LMHeadModel"))


def _trunk(
    model: str | os.PathLike[str] | CausalLM, seed: int, share_weights: bool
) -> tuple[Any, PreTrainedTokenizerBase]:
    from transformers import AutoModel, AutoTokenizer

    if not isinstance(model, CausalLM):
        name = os.path.expanduser(os.fspath(model))
        if is_language_model(name):
            model = load(name, "cpu")
        else:
            with torch.random.fork_rng(devices=[]), no_progress_bars():
                torch.manual_seed(seed)  # for weights that a checkpoint may lack, such as BERT's pooler
                return AutoModel.from_pretrained(name, dtype=torch.float32), AutoTokenizer.from_pretrained(name)
    trunk: Any = model.trunk
    trunk = with_parameters_of(trunk, frozen=True) if share_weights else copy.deepcopy(trunk)
    return trunk.requires_grad_(False).cpu(), model.tokenizer


def _classifier(trunk: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, end: bool, seed: int) -> PreTrainedModel:
    """A Hugging Face sequence classifier with this trunk and a new head, drawn by the seed."""
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(trunk.config)
    config.num_labels = 1
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    if end and config.pad_token_id == tokenizer.eos_token_id:
        config.pad_token_id = None  # else transformers would take the end of a text for padding
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise LanguageError(
            f"transformers has no sequence classifier for {type(trunk).__name__}: use head='tokens', which needs none"
        ) from error
    model.base_model.load_state_dict(trunk.state_dict(), strict=False, assign=True)  # not copied
    head = getattr(model, "score", None)
    if head is not None:
        noise = torch.Generator().manual_seed(seed)
        width = head.weight.shape[1]
        with torch.no_grad():
            # Small, so that scores start near 0: Stiennon et al. (2020) divide by the root, for states of size 1.
            head.weight.copy_(torch.randn(head.weight.shape, generator=noise) / (width + 1))
    return model
