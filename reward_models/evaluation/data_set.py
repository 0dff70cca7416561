"""What a data set of judgements is like: lengths, duplicates, leaks between splits, biases, agreement of its raters."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from ...language.conversation import Conversation, Message
from ..feedback.agreement import alpha
from ..feedback.formats import ImportedJudgements
from ..feedback.judgements import Judgement, Labelled, Ranked, Rated, Tied
from ..feedback.writing import kind_of
from .metrics import auroc, binomial_interval, spearman

Lengths = Callable[[Sequence[str]], Sequence[int]]
QUANTILES = (0, 5, 25, 50, 75, 95, 100)  # per cent
LEVELS = {"pairs": "interval", "labels": "nominal", "ratings": "ordinal"}  # of Krippendorff's α


def words(texts: Sequence[str]) -> list[int]:
    """The number of words of each text."""
    return [len(text.split()) for text in texts]


def describe(found: ImportedJudgements, lengths: Lengths = words) -> dict[str, Any]:
    """The description of a data set as plain JSON; what does not apply is left out.

    Read it with `raters="all"`, so that everybody's judgements can be compared. `lengths` counts the tokens of texts.
    """
    judgements = found.judgements
    parts = {
        "rows": found.report.as_json(),
        "kinds": dict(Counter(map(kind_of, judgements))),
        "splits": {split: len(some) for split in ("train", "heldout") if (some := found.of(split))},
        "lengths": _lengths(judgements, lengths),
        "duplicates": _duplicates(judgements),
        "leaks": _leaks(found.of("train"), found.of("heldout")),
        "position": _position(judgements),
        "length_bias": _length_bias(judgements),
        "raters": len({one.rater for one in judgements if one.rater is not None}),
        "agreement": _agreement(judgements),
        "conversations": _conversations(judgements),
    }
    known = {name: part for name, part in parts.items() if part not in ({}, None, 0)}
    return {**known, "splits_declared": found.declares_splits}


def quantiles(values: Sequence[int]) -> dict[str, int]:
    """The quantiles of some lengths, by their names in per cent."""
    found = np.quantile(values, [q / 100 for q in QUANTILES], method="nearest")
    return {f"{q}%": int(value) for q, value in zip(QUANTILES, found, strict=True)}


def conversations(of: str, chats: Sequence[Sequence[Message]]) -> dict[str, Any]:
    """How many messages conversations have, and of whom; `of` says what they are, "prompts" say."""
    return {
        "of": of,
        "count": len(chats),
        "messages": quantiles([len(messages) for messages in chats]),
        "roles": dict(Counter(message["role"] for messages in chats for message in messages)),
        "with_system_message": sum(messages[0]["role"] == "system" for messages in chats),
    }


def _lengths(judgements: Sequence[Judgement], lengths: Lengths) -> dict[str, Any]:
    """Of all distinct texts."""
    texts = {
        "prompts": list(dict.fromkeys(one.prompt for one in judgements if one.prompt.strip())),
        "responses": list(dict.fromkeys(text for one in judgements for text in one.responses)),
    }
    return {name: {"count": len(some), **quantiles(lengths(some))} for name, some in texts.items() if some}


def _duplicates(judgements: Sequence[Judgement]) -> dict[str, int]:
    """Judgements that another row had before, and comparisons that were also decided the other way."""
    rows: dict[Hashable, set[str]] = defaultdict(set)
    for one in judgements:
        rows[_exactly(one)].add(one.place)
    pairs: dict[Hashable, set[float]] = defaultdict(set)
    for unit, verdict in _verdicts(judgements)["pairs"]:
        pairs[unit].add(verdict)
    both_ways = sum({0.0, 1.0} <= verdicts for verdicts in pairs.values())
    return {"repeated": sum(len(places) - 1 for places in rows.values()), "decided_both_ways": both_ways}


def _exactly(one: Judgement) -> Hashable:
    if isinstance(one, Rated):
        return one.prompt, one.responses, one.rating, one.scale, one.rater
    outcome = one.good if isinstance(one, Labelled) else isinstance(one, Tied)
    return type(one), one.prompt, one.responses, outcome, one.rater


def _leaks(train: Sequence[Judgement], heldout: Sequence[Judgement]) -> dict[str, int] | None:
    """How many held-out prompts and texts are in the training split too."""
    if not (train and heldout):
        return None
    prompts = [{one.prompt for one in some if one.prompt.strip()} for some in (train, heldout)]
    texts = [{(one.prompt, text) for one in some for text in one.responses} for some in (train, heldout)]
    responses = [{text for one in some for text in one.responses} for some in (train, heldout)]
    return {
        "prompts": len(prompts[0] & prompts[1]),
        "texts": len(texts[0] & texts[1]),
        "responses": len(responses[0] & responses[1]),
    }


def _position(judgements: Sequence[Judgement]) -> dict[str, Any] | None:
    """How often the chosen one of two was shown first."""
    shown = [one.position for one in judgements if isinstance(one, Ranked) and len(one.responses) == 2]
    known = [position for position in shown if position is not None]
    return _share(known.count(0), len(known)) if known else None


def _length_bias(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """How the verdict goes with the number of words; of a ranking, its best and its worst text are compared."""
    found: dict[str, Any] = {}
    more = [_more_words(one.responses[0], one.responses[-1]) for one in judgements if isinstance(one, Ranked)]
    if differing := [difference for difference in more if difference]:
        found["longer_is_chosen"] = _share(sum(difference > 0 for difference in differing), len(differing))
    labels = [one for one in judgements if isinstance(one, Labelled)]
    if labels and not math.isnan(share := auroc(words([one.response for one in labels]), [one.good for one in labels])):
        found["good_is_longer"] = share
    rated = [one for one in judgements if isinstance(one, Rated)]
    on_unit = [(one.rating - one.scale[0]) / (one.scale[1] - one.scale[0]) for one in rated]
    if rated and not math.isnan(correlation := spearman(words([one.response for one in rated]), on_unit)):
        found["rank_correlation_of_words_and_rating"] = correlation
    return found


def _more_words(one: str, other: str) -> int:
    return len(one.split()) - len(other.split())


def _share(count: int, of: int) -> dict[str, Any]:
    return {"share": count / of, "interval": list(binomial_interval(count, of)), "count": of}


def _agreement(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Krippendorff's α of each kind of judgement that several raters made of the same."""
    found: dict[str, Any] = {}
    for kind, verdicts in _verdicts(judgements).items():
        units: dict[Hashable, list[float]] = defaultdict(list)
        for unit, verdict in verdicts:
            units[unit].append(verdict)
        several = [unit for unit in units.values() if len(unit) > 1]
        if several:
            value = alpha(several, LEVELS[kind])
            found[kind] = {
                "alpha": None if math.isnan(value) else value,
                "level": LEVELS[kind],
                "judged_by_several": len(several),
                "judgements": sum(map(len, several)),
            }
    return found


def _verdicts(judgements: Sequence[Judgement]) -> dict[str, list[tuple[Hashable, float]]]:
    """(what was judged, the verdict); of two texts 0 where the first in alphabetical order is better, 1 or ½."""
    found: dict[str, list[tuple[Hashable, float]]] = {"pairs": [], "labels": [], "ratings": []}
    for one in judgements:
        if isinstance(one, Rated):
            found["ratings"].append(((one.prompt, one.response, one.scale), one.rating))
        elif isinstance(one, Labelled):
            found["labels"].append(((one.prompt, one.response), float(one.good)))
        else:
            texts = one.responses
            for i, better in enumerate(texts):
                for worse in texts[i + 1 :]:
                    verdict = 0.5 if isinstance(one, Tied) else float(better > worse)
                    found["pairs"].append(((one.prompt, *sorted((better, worse))), verdict))
    return found


def _conversations(judgements: Sequence[Judgement]) -> dict[str, Any] | None:
    """The prompts that are chat messages: how many turns they have, and of whom."""
    prompts = {one.prompt: one.prompt for one in judgements if isinstance(one.prompt, Conversation)}.values()
    chats = [prompt.messages for prompt in prompts if isinstance(prompt, Conversation)]
    if not chats:
        return None
    several = {text for one in judgements for text in one.responses if isinstance(text, Conversation)}
    return {**conversations("prompts", chats), "responses_of_several_turns": len(several)}
