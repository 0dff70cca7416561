"""A tokenizer's chat template: messages to tokens, and which of them the assistant wrote.

    <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n   the prompt, with the generation prompt at its end
    Hello<|im_end|>                                          what the assistant writes, with the end of its turn
    \\n<|im_start|>user\\nBye<|im_end|>\\n<|im_start|>…         what the template adds when the user answers

Everything is found by rendering, so nothing here knows any template.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..records.characters import check_texts
from ..records.jsonl import shortened
from .conversation import Conversation, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ints = NDArray[np.int64]
Messages = Sequence[Mapping[str, str]]
MARK = "answer0"  # stands for what an assistant says where only the template's part matters
NO_TEMPLATE = (
    "{} has no chat template, which messages need: use an instruct model, or set tokenizer.chat_template to the one "
    "that the model was trained with (for a base model see docs/chat.md) and save it"
)


class ChatTemplateError(ValueError):
    """Messages that a chat template cannot write, or a template that cannot be used, and the remedy."""


@dataclass(frozen=True)
class Answered:
    """A conversation as tokens, up to the end of the assistant's last turn."""

    tokens: Ints  # (L,)
    learned: Ints  # (T,) the positions of what the assistant wrote


class ChatTemplate:
    """The chat template of a tokenizer that has one; `encode_more` tokenises a text that continues another."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, encode_more: Callable[[str], Ints]) -> None:
        self.tokenizer, self._encode_more = tokenizer, encode_more
        self.end_id = find_turn_end(tokenizer)  # ends the assistant's turns; None: no special token does
        if not _writes_text(tokenizer):
            raise ChatTemplateError(
                f"the chat template of {_name(tokenizer)} leaves out what a message of plain text says, as those of "
                "models that also see pictures may: set tokenizer.chat_template to one for text"
            )

    def prompt(self, messages: Messages) -> Conversation:
        """Messages that end with the user's turn, with the text that the assistant continues."""
        text = _render(self.tokenizer, messages, answer=True)
        self._check(messages)
        if messages[-1]["role"] == "assistant":
            raise ChatTemplateError("the prompt ends with the assistant's turn, which it is to write: drop that turn")
        return Conversation(messages, text)

    def tokens(self, messages: Messages) -> Ints:
        """The tokens of a prompt, as `apply_chat_template(messages, add_generation_prompt=True)` gives them."""
        return self.encode([self.prompt(messages)])[0]

    def encode(self, prompts: Sequence[Conversation]) -> list[Ints]:
        """The tokens of what `prompt` made."""
        return self._ids(prompts) if prompts else []

    def reply(self, messages: Messages, said: str) -> Ints:
        """The tokens that follow the end of the assistant's turn, the last message, when the user has `said` this."""
        user = {"role": "user", "content": said}
        self._check([user])
        # What the assistant says must not matter: templates strip it, and may take thoughts out of earlier turns.
        neutral = [one if one["role"] != "assistant" else {**one, "content": MARK} for one in messages]
        before = _render(self.tokenizer, neutral[:-1], answer=True)
        whole = _render(self.tokenizer, [*neutral, user], answer=True)
        if not (whole.startswith(before) and whole[len(before) :].lstrip().startswith(MARK)):
            raise ChatTemplateError(
                f"the chat template of {_name(self.tokenizer)} writes a turn differently once the conversation goes on "
                f"(first {shortened(before)}, then {shortened(whole)}), so no text can grow by it: "
                f"{'leave out the system message, or ' if messages[0]['role'] == 'system' else ''}set "
                "tokenizer.chat_template to one that only adds, and leaves thoughts where they are"
            )
        ids = self._ids([whole[whole.index(self._end_token, len(before)) :]])[0]
        return ids[ids.tolist().index(self.end_id) + 1 :]

    def answers(self, messages: Messages, first: int = 0) -> list[Answered]:
        """The conversation with what the assistant wrote from message `first` on.

        One example, or one for each of the assistant's turns where the template writes a turn differently once the
        conversation goes on, as those do that take the thoughts out of earlier turns.
        """
        self._check(messages)
        turns = list(self._turns(messages, first))
        if not turns:
            raise ChatTemplateError("the assistant says nothing in these messages, so there is nothing to learn")
        whole = turns[-1][2]
        if all(whole.startswith(text) for _, _, text in turns):
            return [self._answered(whole, [(start, end) for start, end, _ in turns])]
        return [self._answered(text, [(start, end)]) for start, end, text in turns]

    def judged(self, prompt: Messages, response: Messages) -> tuple[Ints, int]:
        """Prompt and response as `apply_chat_template` gives them, and where in these tokens the response begins."""
        before = _render(self.tokenizer, prompt, answer=True)
        whole = _render(self.tokenizer, [*prompt, *response], answer=False)
        if not whole.startswith(before):  # the turns of the prompt are written differently now
            asked, ids = self._ids([before, whole])
            different = np.flatnonzero(asked[: len(ids)] != ids[: len(asked)])
            return ids, int(different[0]) if len(different) else min(len(asked), len(ids))
        ids, (start,) = self._cut(whole, [len(before)])
        return ids, start

    def _turns(self, messages: Messages, first: int) -> Iterator[tuple[int, int, str]]:
        """Where each of the assistant's turns begins and ends, and the text up to its end."""
        for i, message in enumerate(messages):
            if message["role"] != "assistant" or i < first:
                continue
            before = _render(self.tokenizer, messages[:i], answer=True)
            text = _render(self.tokenizer, messages[: i + 1], answer=False)
            if not text.startswith(before):
                raise ChatTemplateError(
                    f"the chat template of {_name(self.tokenizer)} asks for an answer by {shortened(before[-40:])} and "
                    f"writes a given one as {shortened(text[max(len(before) - 40, 0) :])}: a model trained on the "
                    "second would not answer the first; set tokenizer.chat_template to one that writes both alike"
                )
            end = text.index(self._end_token, len(before)) + len(self._end_token)
            yield len(before), end, text[:end]

    def _answered(self, text: str, spans: Sequence[tuple[int, int]]) -> Answered:
        tokens, places = self._cut(text, [cut for span in spans for cut in span])
        learned = [np.arange(start, end) for start, end in zip(places[::2], places[1::2], strict=True)]
        return Answered(tokens, np.concatenate(learned))

    def _cut(self, text: str, cuts: Sequence[int]) -> tuple[Ints, list[int]]:
        """The tokens of a text, and how many there are up to each of `cuts`."""
        *parts, whole = self._ids([*(text[:cut] for cut in cuts), text])
        if all(np.array_equal(part, whole[: len(part)]) for part in parts):
            return whole, [len(part) for part in parts]
        # A token would span prompt and answer, and no assistant could write half of it: encode them apart.
        ends = [*cuts[1:], len(text)]
        pieces = [parts[0], *(self._encode_more(text[cut:end]) for cut, end in zip(cuts, ends, strict=True))]
        return np.concatenate(pieces), np.cumsum([len(piece) for piece in pieces[:-1]]).tolist()

    def _ids(self, texts: Sequence[str]) -> list[Ints]:
        check_texts(plain := [str(text) for text in texts])
        rows: Any = self.tokenizer(plain, add_special_tokens=False)["input_ids"]  # a template writes its own
        return [np.asarray(row, np.int64) for row in rows]

    @property
    def _end_token(self) -> str:
        if self.end_id is None:
            raise ChatTemplateError(
                f"the chat template of {_name(self.tokenizer)} ends the assistant's turn with no special token, so no "
                "answer could end: set tokenizer.chat_template to one that writes eos_token there"
            )
        return str(self.tokenizer.convert_ids_to_tokens(self.end_id))

    def _check(self, messages: Messages) -> None:
        ends = {str(self.tokenizer.eos_token), *([] if self.end_id is None else [self._end_token])}
        for i, message in enumerate(messages):
            for end in ends:
                if end in message["content"]:
                    raise ChatTemplateError(
                        f"message {i} ({message['role']}) holds {end}, which ends a turn: take it out, as the template "
                        f"writes it: {shortened(message['content'])}"
                    )


def _writes_text(tokenizer: PreTrainedTokenizerBase) -> bool:
    try:
        return MARK in _render(tokenizer, [{"role": "user", "content": MARK}], answer=True)
    except ChatTemplateError:
        return True  # whoever uses the template is told


def find_turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that ends the assistant's turn; None where there is none, or the template cannot be used."""
    asked: list[Message] = [{"role": "user", "content": "question"}, {"role": "assistant", "content": MARK}]
    try:
        text = _render(tokenizer, asked, answer=False)
    except ChatTemplateError:
        return None  # whoever uses the template is told
    rest = text[text.rindex(MARK) + len(MARK) :] if MARK in text else ""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    special = added | {str(token) for token in tokenizer.all_special_tokens}
    found = [(rest.index(token), -len(token), token) for token in special if token and token in rest]
    ids: Any = tokenizer.convert_tokens_to_ids([min(found)[2]]) if found else [None]
    end: int | None = ids[0]
    return end


def _render(tokenizer: PreTrainedTokenizerBase, messages: Messages, *, answer: bool) -> str:
    """Write messages by the template, with `answer` the beginning of the assistant's turn behind them."""
    if not getattr(tokenizer, "chat_template", None):
        raise ChatTemplateError(NO_TEMPLATE.format(_name(tokenizer)))
    try:
        return _rendered(tokenizer, messages, answer)
    except Exception as error:  # a template is a program of someone else's
        roles = ", ".join(message["role"] for message in messages)
        raise ChatTemplateError(
            f"the chat template of {_name(tokenizer)} does not take messages of {roles} "
            f"({type(error).__name__}: {error}){_remedy(tokenizer, messages, answer)}"
        ) from error


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: Messages, answer: bool) -> str:
    return str(
        tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=answer, tokenize=False
        )
    )


def _remedy(tokenizer: PreTrainedTokenizerBase, messages: Messages, answer: bool) -> str:
    others = [message for message in messages if message["role"] != "system"]
    if len(others) < len(messages):
        try:
            _rendered(tokenizer, others, answer)
        except Exception:
            return ""
        return ", but takes them without the system message: join that into the user's first turn, or leave it out"
    return ""


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__
