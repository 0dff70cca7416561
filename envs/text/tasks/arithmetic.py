"""Work out a sum, a difference or a product."""

from __future__ import annotations

import re
from typing import ClassVar

from ..task import Prompt
from .scores import normalised
from .splits import Draws, SeededTask

FORMS = ("{} =", "What is {}?", "Compute {}.")


def _exact(prompt: Prompt, response: str) -> float:
    return float(normalised(response) == str(compute(prompt.asked)))


def _close(prompt: Prompt, response: str) -> float:
    number = normalised(response)
    if not re.fullmatch(r"-?\d{1,18}", number):
        return 0.0
    return 1 / (1 + abs(int(number) - compute(prompt.asked)))


class TextArithmetic(SeededTask):
    """A calculation with +, - and *, written as `17 + 5 =`, `What is 17 + 5?` or `Compute 17 + 5.`

    `facts["level"]`: 1 is two one-digit numbers, 2 adds or subtracts numbers up to 99, 3 multiplies one of two
    digits by one of one digit or has three terms. A calculation is in one split in all three forms.

    `measure`: "gold" is 1 where the response is the result and nothing else (a final full stop is allowed), else 0.
    "close" is 1 / (1 + distance to the result), 0 for a response that is no number. The result is worked out from the
    prompt's text, from the last calculation there, so a prompt needs nothing else.
    """

    name = "arithmetic"
    max_new_tokens = 6
    measures: ClassVar = {"gold": _exact, "close": _close}

    def make(self, draws: Draws) -> Prompt:
        """Make a calculation and its result."""
        level = draws.one((1, 2, 3))
        calculation = _calculation(level, draws)
        return Prompt(draws.one(FORMS).format(calculation), f" {compute(calculation)}", {"level": level})

    def family(self, prompt: Prompt) -> str:
        """Return the calculation without the words around it."""
        return _last_calculation(prompt.asked)

    def can_measure(self, prompt: Prompt) -> bool:
        """Whether there is a calculation in the prompt."""
        try:
            compute(prompt.asked)
        except ValueError:
            return False
        return True


def compute(text: str) -> int:
    """Return the result of the last calculation in a text: whole numbers with +, - and *, products first."""
    total, sign, product = 0, 1, 0
    for operator, number in re.findall(r"([-+*])\s*(-?\d+)", "+" + _last_calculation(text)):
        if operator == "*":
            product *= int(number)
        else:
            total += sign * product
            sign, product = (-1 if operator == "-" else 1), int(number)
    return total + sign * product


def _last_calculation(text: str) -> str:
    runs = (run.strip(" \t.,") for run in re.findall(r"[-+*/^().,\d \t]+", text))
    calculations: list[str] = [run for run in runs if re.search(r"\d.*[-+*/^].*\d", run)]
    if not calculations or not re.fullmatch(r"-?\d+([ \t]*[-+*][ \t]*-?\d+)+", calculations[-1]):
        raise ValueError(f"no calculation in the prompt {text!r}: expected one of whole numbers with +, - and *")
    return calculations[-1]


def _calculation(level: int, draws: Draws) -> str:
    def number(low: int, high: int) -> int:
        return low + int(draws.random() * (high + 1 - low))

    if level == 1:
        return f"{number(0, 9)} {draws.one('+-*')} {number(0, 9)}"
    if level == 2:
        return f"{number(1, 99)} {draws.one('+-')} {number(1, 99)}"
    if draws.chance():
        return f"{number(10, 99)} * {number(2, 9)}"
    return f"{number(1, 20)} {draws.one('+-')} {number(1, 20)} {draws.one('+-')} {number(1, 20)}"
