"""Writing judgements as rows of our own forms, which are also TRL's; and counting them in words."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

from ...language.conversation import Conversation
from ...records.jsonl import write_jsonl
from .judgements import Judgement, Labelled, Ranked, Rated, Tied

KINDS = {"pair": Ranked, "ranking": Ranked, "tie": Tied, "label": Labelled, "rating": Rated}


def write_judgements(path: str | os.PathLike[str], judgements: Iterable[Judgement]) -> None:
    """Write judgements to a JSONL file that `read_judgements` reads; their split is not kept."""
    write_jsonl(path, [as_row(judgement) for judgement in judgements])


def as_row(judgement: Judgement) -> dict[str, object]:
    """A judgement as a row of our own forms."""
    row: dict[str, object] = {"prompt": as_prompt(judgement.prompt), **_verdict(judgement)}
    return row if judgement.rater is None else row | {"rater": judgement.rater}


def described(judgements: Iterable[Judgement]) -> str:
    """How many judgements there are of each kind, such as "3,000 pairs and 1 label"."""
    counts = Counter(kind_of(judgement) for judgement in judgements)
    parts = [f"{counts[kind]:,} {kind}{'s' * (counts[kind] > 1)}" for kind in KINDS if counts[kind]]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts) or "nothing"


def kind_of(judgement: Judgement) -> str:
    """The name of a judgement's kind."""
    if isinstance(judgement, Ranked):
        return "pair" if len(judgement.responses) == 2 else "ranking"
    return next(name for name, kind in KINDS.items() if isinstance(judgement, kind))


def _verdict(judgement: Judgement) -> dict[str, object]:
    texts = [as_completion(judgement.prompt, text) for text in judgement.responses]
    if isinstance(judgement, Labelled):
        return {"completion": texts[0], "label": judgement.good}
    if isinstance(judgement, Rated):
        scale = [float(end) for end in judgement.scale]
        weight = {} if judgement.weight == 1 else {"weight": float(judgement.weight)}
        return {"completion": texts[0], "rating": float(judgement.rating), "scale": scale, **weight}
    if isinstance(judgement, Tied):
        return {"responses": texts, "tie": "both bad" if judgement.both_bad else True}
    if len(texts) > 2:
        return {"responses": texts, "ranking": list(range(len(texts)))}
    extra: dict[str, object] = {"margin": float(judgement.margin)} if judgement.margin else {}
    if judgement.position is not None:
        extra["position"] = judgement.position
    return {"chosen": texts[0], "rejected": texts[1], **extra}


def as_completion(prompt: str, text: str) -> object:
    """A response as JSON has it: text, or messages where it or its prompt is a conversation, as TRL wants them."""
    if isinstance(prompt, Conversation) and not isinstance(text, Conversation):
        return [{"role": "assistant", "content": text}]
    return as_prompt(text)


def as_prompt(text: str) -> object:
    """A prompt as JSON has it: text, or messages."""
    return text.messages if isinstance(text, Conversation) else text
