"""Loading a tokenizer without its model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records.jsonl import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHIPPED = Path(__file__).parent / "assets"
RUN_MODEL = "model"  # of a run's folder


def load_tokenizer(name: str, argument: str = "tokenizer") -> PreTrainedTokenizerBase:
    """The tokenizer of a model: a folder, a run, a hub id or a shipped model; DataError names the argument."""
    from transformers import AutoTokenizer

    places = [SHIPPED / name if os.sep not in name and name not in (".", "..") else Path(name), Path(name) / RUN_MODEL]
    place = next((str(one) for one in places if (one / "tokenizer_config.json").is_file()), name)
    try:
        found: Any = AutoTokenizer.from_pretrained(os.path.expanduser(place))
    except (OSError, ValueError) as error:
        why = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{argument} is {name!r}, which has no tokenizer ({why}): expected a model's folder, a run, a hub id or a "
            "shipped model"
        ) from None
    return found  # type: ignore[no-any-return]
