"""The built-in task `reviews`: its prompts, its texts, its gold sentiment and its grammar."""

from .grammar import grammatical, words
from .sentiment import sentiment
from .task import Reviews
from .writer import corpus, write_review

__all__ = ["Reviews", "corpus", "grammatical", "sentiment", "words", "write_review"]
