"""Chat messages among the prompts and responses that a reward model is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..feedback.fields import dialogues

Given = str | Sequence[Mapping[str, str]] | Mapping[str, str] | None  # a text, or messages


def as_texts(prompts: Sequence[Given], responses: Sequence[Given]) -> tuple[Sequence[str], Sequence[str]]:
    """Prompts and responses with each list of messages as a `Conversation`; DataError names what is neither.

    A response may be a text, the messages after the prompt, or the whole conversation with the prompt None.
    """
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses: expected as many of each")
    if all(isinstance(one, str) for some in (prompts, responses) for one in some):
        return prompts, responses  # type: ignore[return-value]
    pairs = [
        dialogues(f"text {i}", prompt, {"response": response})
        for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True))
    ]
    return [prompt for prompt, _ in pairs], [response for _, (response,) in pairs]
