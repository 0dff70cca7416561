"""Open-Assistant's trees of messages: replies to the same message are ranked, 0 the best."""

from __future__ import annotations

from collections import defaultdict

from ....language.conversation import Conversation, read_messages
from ..fields import Row
from .schema import Numbered, Outcome, Schema, by_rank, different

ASSISTANT = "assistant"


def trees(rows: Numbered) -> list[Outcome]:
    """The outcome of each message; those of ranked replies are with the first of them."""
    known = {row["message_id"]: row for _, row in rows}
    outcomes: dict[int, Outcome] = {}
    replies: dict[object, list[int]] = defaultdict(list)
    for i, (_, row) in enumerate(rows):
        if reason := _useless(row):
            outcomes[i] = Outcome(refused=reason)
        elif row["role"] != ASSISTANT:
            outcomes[i] = Outcome(context=True)
        else:
            replies[row.get("parent_id")].append(i)
    for parent, members in replies.items():
        path = _path(parent, known)
        if isinstance(path, str):
            outcomes |= dict.fromkeys(members, Outcome(refused=path))
            continue
        if any(not message["content"].strip() for message in path):
            outcomes |= dict.fromkeys(members, Outcome(refused="a message before it is empty"))
            continue
        usable = different([(float(rows[i][1]["rank"]), i, str(rows[i][1]["text"])) for i in members])
        outcomes |= dict.fromkeys(members, Outcome(refused="a reply that is empty or like another"))
        if len(usable) < 2:
            outcomes |= {i: Outcome(refused="no other reply to compare with") for _, i, _ in usable}
            continue
        first = min(i for _, i, _ in usable)
        place = rows[first][0]
        prompt = read_messages(place, Conversation(path), prompt=True)
        outcomes |= {i: Outcome() for _, i, _ in usable}
        outcomes[first] = Outcome(by_rank(place, prompt, usable, shown=False))  # the order they were seen in is unknown
    return [outcomes[i] for i in range(len(rows))]


def _useless(row: Row) -> str:
    if row.get("deleted"):
        return "deleted"
    if row["role"] == ASSISTANT and row.get("rank") is None:
        return "a reply without a rank"
    return ""


def _path(message: object, known: dict[object, Row]) -> list[dict[str, str]] | str:
    """The messages from the first one to this one, or why they are of no use."""
    path: list[dict[str, str]] = []
    seen = set()
    while message is not None:
        row = known.get(message)
        if row is None:
            return "a message before it is not in the file"
        if row.get("deleted"):
            return "a message before it is deleted"
        if message in seen:
            return "its messages are each other's parents"
        seen.add(message)
        path.insert(0, {"role": str(row["role"]), "content": str(row["text"])})
        message = row.get("parent_id")
    return path or "a reply to nothing"


TREES = (
    Schema(
        "oasst",
        "Open-Assistant",
        ("message_id", "message_tree_id", "role", "text"),
        group=trees,
        values=("rank", "deleted"),
    ),
)
