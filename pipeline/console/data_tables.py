"""Printing the description of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from .printing import console, heading, key_values

Description = Mapping[str, Any]


def print_description(of: Description) -> None:
    """Print a description as `textrlhf data` makes it."""
    heading(str(of["source"]))
    key_values([*_rows(of), *_splits(of), *_checks(of)])
    if lengths := of.get("lengths"):
        _table(f"Lengths in {of['unit']}", lengths)
    if chat := of.get("conversations"):
        what, count = chat["of"], chat["count"]
        _table(f"Messages of {what}", {what: {"count": count, **chat["messages"]}})
        roles = ", ".join(f"{role} {number:,}" for role, number in chat["roles"].items())
        system = f"{chat['with_system_message']:,} of {count:,} {what} have a system message"
        several = chat.get("responses_of_several_turns")
        turns = [("Turns", f"{several:,} responses have more than one")] if several else []
        key_values([("Roles", f"{roles}; {system}"), *turns])
    if written := of.get("written"):
        key_values([("Written", f"{written['file']} ({written['rows']:,})")])


def _rows(of: Description) -> list[tuple[str, str]]:
    rows = of["rows"]
    counts = {
        "kept": rows["kept"],
        "tied": rows["tied"],
        "part of prompts": rows["context"],
        "refused": rows["refused"],
    }
    schemas = ", ".join(f"{name} ({count:,})" for name, count in rows.get("schemas", {}).items())
    kept = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    kinds = ", ".join(f"{count:,} {kind}{'s' * (count != 1)}" for kind, count in of["kinds"].items())
    return [
        *([("Recognised as", schemas)] if schemas else []),
        ("Rows", f"{rows['read']:,} read: {kept}"),
        *(("Refused", f"{one['count']:,}: {reason}; first {one['first']}") for reason, one in rows["reasons"].items()),
        *(
            ("Left out", f"{one['count']:,} of rows: {reason}; first {one['first']}")
            for reason, one in rows["left_out"].items()
        ),
        ("Kinds", kinds),
    ]


def _splits(of: Description) -> list[tuple[str, str]]:
    found = []
    if splits := of.get("splits"):
        tenth = "every tenth prompt is held out" if "heldout" in splits else "there are fewer than ten prompts"
        how = "as the rows say" if of["splits_declared"] else tenth
        parts = [f"{count:,} {'held out' if name == 'heldout' else 'to train on'}" for name, count in splits.items()]
        found.append(("Splits", f"{', '.join(parts)} ({how})"))
    if leaks := of.get("leaks"):
        shared = ", ".join(f"{count:,} {name}" for name, count in leaks.items())
        found.append(("In both splits", shared if any(leaks.values()) else "nothing"))
    return found


def _checks(of: Description) -> list[tuple[str, str]]:
    twice = of.get("duplicates", {})
    found = [("Repeated", f"{twice.get('repeated', 0):,} that an earlier row has too")]
    if both := twice.get("decided_both_ways"):
        found.append(("Both ways", f"{both:,} comparisons were decided either way"))
    if position := of.get("position"):
        found.append(("Position", f"the chosen one was shown first in {_share(position)}"))
    bias = of.get("length_bias", {})
    if longer := bias.get("longer_is_chosen"):
        found.append(("Length", f"the longer one was chosen in {_share(longer)} of different length"))
    if (longer := bias.get("good_is_longer")) is not None:
        found.append(("Length", f"a good text is longer than a bad one in {100 * longer:.1f} %"))
    if (correlation := bias.get("rank_correlation_of_words_and_rating")) is not None:
        found.append(("Length", f"the rank correlation of words and ratings is {correlation:.2f}".replace("-", "−")))
    if raters := of.get("raters"):
        found.append(("Raters", f"{raters:,} are named"))
    return [*found, *(("Agreement", _agreement(kind, one)) for kind, one in of.get("agreement", {}).items())]


def _agreement(kind: str, one: Description) -> str:
    count, of = one["judged_by_several"], "pair" if kind == "pairs" else "text"
    about = f"{one['judgements']:,} judgements of {count:,} {of}{'s' * (count != 1)} that several people judged"
    if one["alpha"] is None:
        return f"cannot be measured on {about}: all judgements are the same, so chance agrees as well"
    return f"Krippendorff's α {one['alpha']:.3f} ({one['level']}; 1 is perfect, 0 chance), {about}".replace("-", "−")


def _share(of: Description) -> str:
    low, high = of["interval"]
    return f"{100 * of['share']:.1f} % (95 %: {100 * low:.1f} to {100 * high:.1f}) of {of['count']:,}"


def _table(title: str, rows: Mapping[str, Mapping[str, int]]) -> None:
    names: Sequence[str] = list(next(iter(rows.values())))
    shown = {"0%": "least", "50%": "median", "100%": "most"}
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column("")
    for name in names:
        table.add_column(shown.get(name, name), justify="right")
    for name, values in rows.items():
        table.add_row(Text(name), *(f"{value:,}" for value in values.values()))
    console.print(table)
