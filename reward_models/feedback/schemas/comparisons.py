"""Data sets of two responses, or a few, of which annotators preferred one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....language.conversation import Conversation, read_messages
from ....records.jsonl import DataError, shortened
from ..fields import Row, dialogues, is_chat, number, one_of, rater_of, text, user
from ..judgements import Judgement, Ranked, Tied
from .schema import Reading, RefusedError, Schema, compared, says


def summarize(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """summarize_from_feedback, comparisons: `choice` is the index of the better of two `summaries`."""
    summaries = row["summaries"]
    texts = tuple(_summary(f"{place}: summaries[{i}]", one) for i, one in enumerate(summaries))
    if len(texts) != 2:
        raise DataError(f'{place}: "summaries" has {len(texts)} entries: expected two')
    choice = one_of(place, row, "choice", (0, 1))
    return compared(place, post(place, row), texts, choice, rater=rater_of(row, "worker"))


def post(place: str, row: Row) -> str:
    """What is summarised, in the words of Stiennon et al. (2020)."""
    info = row["info"]
    if not isinstance(info, Mapping):
        raise DataError(f'{place}: "info" is {shortened(info)}: expected an object')
    if info.get("post") is None:
        return f"Article: {text(f'{place}: info', info, 'article')}\n\nTL;DR:"
    subreddit = f"SUBREDDIT: r/{info['subreddit']}\n\n" if info.get("subreddit") else ""
    title = f"TITLE: {info['title']}\n\n" if info.get("title") else ""
    return f"{subreddit}{title}POST: {text(f'{place}: info', info, 'post')}\n\nTL;DR:"


def _summary(place: str, one: Any) -> str:
    return " " + text(place, one, "text").strip()


def lm_human(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """lm-human-preferences: `best` is the index of the best of `sample0` to `sample3`; the others are not compared."""
    names = [name for name in (f"sample{i}" for i in range(10)) if row.get(name) is not None]
    best = row.get("best")
    if best is None or best == -1:
        raise RefusedError("no sample is named the best")
    best = one_of(place, row, "best", range(len(names)))
    prompt = _decoded(place, row, "query", reading)
    texts = [_decoded(place, row, name, reading) for name in names]
    return [
        Ranked(prompt, (texts[best], other), place=place, position=best) for i, other in enumerate(texts) if i != best
    ]


def _decoded(place: str, row: Row, key: str, reading: Reading) -> str:
    value = row[key]
    if isinstance(value, str):
        return value
    if not isinstance(value, Sequence) or any(type(token) is not int for token in value):
        raise DataError(f'{place}: "{key}" is {shortened(value)}: expected text or token ids')
    if reading.decode is None:
        raise DataError(
            f'{place}: "{key}" is token ids, of GPT-2 in lm-human-preferences: name that tokenizer, a hub id or folder '
            '(--tokenizer gpt2, in Python tokenizer="gpt2")'
        )
    return reading.decode(value)


def helpsteer2(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """HelpSteer2 preference: a `preference_strength` below 0 prefers `response_1`, up to 3 either way."""
    prompt = read_messages(f'{place}: "prompt"', Conversation(_turns(text(place, row, "prompt"))), prompt=True)
    texts = text(place, row, "response_1"), text(place, row, "response_2")
    return _by_sign(place, prompt, texts, number(place, row, "preference_strength"), 3)


def _turns(prompt: str) -> list[dict[str, str]]:
    """The turns of HelpSteer2, which its tokens of the form <extra_id_1>User separate."""
    first, *others = prompt.split("<extra_id_1>")
    turns = [user(first.strip()).messages[0]]
    for other in others:
        who, _, said = other.partition("\n")
        if said.strip():  # the last one names who is to speak
            turns.append({"role": "user" if who.strip() == "User" else "assistant", "content": said.strip()})
    return turns


def helpsteer3(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """HelpSteer3: a preference below 0 is for `response1`, up to 3 either way; with raters="all" everybody's own."""
    named = {name: text(place, row, name) for name in ("response1", "response2")}
    prompt, texts = dialogues(place, row["context"], named)
    if reading.raters == "all" and row.get("individual_preference"):
        scores = [
            number(f"{place}: individual_preference[{i}]", one, "score")
            for i, one in enumerate(row["individual_preference"])
        ]
    else:
        scores = [number(place, row, "overall_preference")]
    return [one for score in scores for one in _by_sign(place, prompt, texts, score, 3)]  # type: ignore[arg-type]


def _by_sign(place: str, prompt: str, texts: tuple[str, str], score: float, most: float) -> list[Judgement]:
    """The judgement of a score that is below 0 where the first response is better."""
    if abs(score) > most:
        raise DataError(f"{place}: the preference is {score:g}: expected -{most:g} to {most:g}")
    return compared(place, prompt, texts, None if score == 0 else int(score > 0), abs(score) / most)


def shp(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """SHP: `labels` 1 prefers A, as its higher score says too."""
    better = 1 - one_of(place, row, "labels", (0, 1))
    scores = number(place, row, "score_A"), number(place, row, "score_B")
    if scores[1 - better] > scores[better]:
        raise RefusedError("labels and scores contradict each other")
    texts = text(place, row, "human_ref_A"), text(place, row, "human_ref_B")
    return compared(place, user(text(place, row, "history")), texts, better)


def webgpt(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """WebGPT comparisons: the higher of two scores, which are from −1 to 1; equal ones tie."""
    question = row["question"]
    asked = (
        text(f"{place}: question", question, "full_text")
        if isinstance(question, Mapping)
        else text(place, row, "question")
    )
    texts = text(place, row, "answer_0"), text(place, row, "answer_1")
    return _by_sign(place, user(asked), texts, number(place, row, "score_1") - number(place, row, "score_0"), 2)


def pku(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """PKU-SafeRLHF: which response is more helpful."""
    return _pku(place, row, "better_response_id")


def pku_safer(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """PKU-SafeRLHF: which response is safer."""
    return _pku(place, row, "safer_response_id")


def _pku(place: str, row: Row, key: str) -> list[Judgement]:
    texts = text(place, row, "response_0"), text(place, row, "response_1")
    if row.get(key) == -1:
        raise RefusedError(f"{key} is −1: nobody chose")
    return compared(place, user(text(place, row, "prompt")), texts, one_of(place, row, key, (0, 1)))


def alpaca_farm(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """AlpacaFarm: `preference` is 1 or 2; 0 and 1.5 are ties."""
    verdict = one_of(place, row, "preference", (1, 2, 0, 1.5))
    texts = text(place, row, "output_1"), text(place, row, "output_2")
    better = None if verdict in (0, 1.5) else int(verdict) - 1
    return compared(place, user(instruction(place, row)), texts, better, rater=rater_of(row, "annotator"))


def instruction(place: str, row: Row) -> str:
    """Alpaca's instruction with its input, if it has one."""
    more = row.get("input")
    asked = text(place, row, "instruction")
    return f"{asked}\n\n{more}" if isinstance(more, str) and more.strip() else asked


def asked_pair(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """Pairs whose prompt has another name: `question` (Orca), `instruction` and `input` (LLaMA-Factory), `input`.

    Or a `prompt` that has a `system` message beside it (Axolotl).
    """
    keys = [key for key in ("prompt", *ASKED) if says(row.get(key))]
    if "instruction" in keys and "input" in keys:
        keys.remove("input")  # belongs to it
    if not keys:
        raise DataError(f"{place}: there is no prompt: expected one of {', '.join(('prompt', *ASKED))}")
    if len(keys) > 1:
        raise DataError(
            f"{place}: the row has {' and '.join(map(repr, keys))}, and each would be its prompt: drop all but one, or "
            'pass schema="pair" (--schema pair) to read "prompt" alone'
        )
    asked = instruction(place, row) if keys == ["instruction"] else text(place, row, keys[0])
    named = {key: row[key] for key in ("chosen", "rejected")}
    margin = 0.0 if row.get("margin") is None else number(place, row, "margin")
    return [Ranked(*dialogues(place, user(asked, row.get("system")).messages, named), margin, place)]


def binarized(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """ultrafeedback_binarized: whole conversations with a score from 1 to 10 each; equal scores tie."""
    prompt, texts = dialogues(place, row.get("prompt"), {key: row[key] for key in ("chosen", "rejected")})
    scores = number(place, row, "score_chosen"), number(place, row, "score_rejected")
    if scores[0] < scores[1]:
        raise RefusedError("the rejected response has the higher score")
    if scores[0] == scores[1]:
        return [Tied(prompt, texts, place=place)]  # type: ignore[arg-type]
    return [Ranked(prompt, texts, min((scores[0] - scores[1]) / 9, 1.0), place)]


ASKED = ("instruction", "question", "input", "query")


def _asked_otherwise(row: Row) -> bool:
    texts = not any(is_chat(row[key]) and len(row[key]) > 1 for key in ("chosen", "rejected"))
    known = any(_is_text(row.get(key)) for key in ASKED)
    return texts and (known or (_is_text(row.get("prompt")) and _is_text(row.get("system"))))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and says(value)


_SUMMARIES, _SCORES = ("info", "summaries", "choice"), ("score_0", "score_1")
_HELPSTEER3 = ("context", "response1", "response2", "overall_preference")
_SHP = ("history", "human_ref_A", "human_ref_B", "labels")
COMPARISONS = (
    Schema("summarize-from-feedback", "OpenAI's summarize_from_feedback", _SUMMARIES, summarize, values=_SUMMARIES),
    Schema(
        "lm-human-preferences",
        "OpenAI's lm-human-preferences",
        ("query", "sample0", "sample1"),
        lm_human,
        values=("best",),
    ),
    Schema(
        "helpsteer2",
        "HelpSteer2, preferences",
        ("prompt", "response_1", "response_2", "preference_strength"),
        helpsteer2,
        values=("preference_strength",),
    ),
    Schema("helpsteer3", "HelpSteer3", _HELPSTEER3, helpsteer3, values=("overall_preference", "individual_preference")),
    Schema("shp", "Stanford Human Preferences", _SHP, shp, values=("labels", "score_A", "score_B")),
    Schema("webgpt", "WebGPT comparisons", ("question", "answer_0", "answer_1", *_SCORES), webgpt, values=_SCORES),
    Schema(
        "pku-saferlhf",
        "PKU-SafeRLHF, which is more helpful",
        ("prompt", "response_0", "better_response_id"),
        pku,
        values=("better_response_id",),
    ),
    Schema(
        "pku-saferlhf-safer",
        "PKU-SafeRLHF, which is safer",
        ("prompt", "response_0", "safer_response_id"),
        pku_safer,
        values=("safer_response_id",),
        by_name=True,
    ),
    Schema(
        "alpacafarm",
        "AlpacaFarm",
        ("instruction", "output_1", "output_2", "preference"),
        alpaca_farm,
        values=("preference",),
    ),
    Schema(
        "ultrafeedback-binarized",
        "ultrafeedback_binarized",
        ("chosen", "rejected", "score_chosen", "score_rejected"),
        binarized,
        reads=("prompt",),
        values=("score_chosen", "score_rejected"),
        before=("pair",),
    ),
    Schema(
        "asked-pair",
        "chosen and rejected, the prompt as instruction, question or input, or with a system message",
        ("chosen", "rejected"),
        asked_pair,
        where=_asked_otherwise,
        reads=("prompt", *ASKED, "system"),
        values=("margin",),
        before=("pair",),
    ),
)
