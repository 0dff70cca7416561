"""What there is to say about films, books, meals and hotels: the things, their adjectives, what one does with them."""

from __future__ import annotations

from dataclasses import dataclass

from .lexicon import worth

ANYTHING = (
    "good great excellent wonderful superb decent fine lovely perfect impressive fantastic brilliant "
    "bad poor terrible awful horrible dreadful disappointing mediocre ordinary"
)
STORY = "clever gripping moving original exciting funny boring dull slow predictable confusing silly tedious long"
SHOW = "clever original funny charming moving convincing silly lazy predictable dull"
PROSE = "elegant charming natural light heavy dull tedious flat"
FIGURE = "convincing natural charming sharp strong wooden flat lazy weak dull"
PERSON = "friendly helpful polite kind quick rude careless lazy slow"
PLACE = "clean comfortable quiet dirty noisy crowded cold"
DISH = "tasty delicious fresh hot rich bland salty greasy cold"

BAKED = "fresh tasty delicious warm light stale dry burnt heavy"


@dataclass(frozen=True, eq=False)
class Thing:
    """A noun and the adjectives that fit it; those of ANYTHING are left out where they would sound odd."""

    noun: str
    own: tuple[str, ...]
    general: tuple[str, ...]
    plural: bool = False

    def adjectives(self, sign: int) -> list[tuple[str, bool]]:
        """Return the adjectives that praise (sign 1) or blame (-1) this thing, each with whether it is its own."""
        every = [(word, True) for word in self.own] + [(word, False) for word in self.general]
        return [(word, own) for word, own in every if worth(word, self.noun) * sign > 0]


def _thing(noun: str, *own: str, anything: bool = True, plural: bool = False) -> Thing:
    return Thing(noun, tuple(" ".join(own).split()), tuple(ANYTHING.split()) if anything else (), plural)


@dataclass(frozen=True, eq=False)
class Domain:
    """One kind of review: its subject (under several names), the subject's aspects, and phrases."""

    names: tuple[str, ...]
    kind: str  # another name, for all of these
    subject: Thing
    aspects: tuple[Thing, ...]
    been: tuple[str, ...]  # how a review opens after "I" or "We", with a gap for the name
    when: tuple[str, ...]
    again: str  # what one would do again
    bargains: tuple[str, ...]  # what it was or was not worth
    this: str = "This"  # what else than "The" a name opens a sentence with
    who: tuple[str, ...] = ("I",)
    moves: bool = False  # it can bore, or make one laugh
    stop: str | None = None  # what one could not stop doing
    returns: bool = False  # one can be back, or ask for a refund
    loses: str | None = None  # what may happen to one who is bored
    grips: str | None = None  # what may happen to one who is not


_drink = "cold dry crisp fresh warm flat sweet weak"
FILM = Domain(
    kind="film",
    names=("film", "movie", "comedy", "thriller"),
    subject=_thing("it", STORY),
    aspects=(
        _thing("plot", STORY, "thin"),
        _thing("script", STORY, "thin"),
        _thing("ending", STORY, "thin"),
        _thing("acting", FIGURE),
        _thing("cast", FIGURE),
        _thing("dialogue", FIGURE),
        _thing("hero", FIGURE),
        _thing("jokes", SHOW, "old", plural=True),
        _thing("music", SHOW, "loud cheap"),
        _thing("effects", SHOW, "loud cheap", plural=True),
    ),
    been=("watched this {}", "saw this {}"),
    when=("last week", "on Friday", "with my sister", "with a friend", "at home"),
    again="watch it again",
    bargains=("the money", "the time", "the wait"),
    moves=True,
    stop="laughing",
    loses="fell asleep",
)
BOOK = Domain(
    kind="book",
    names=("book", "novel", "story"),
    subject=_thing("it", STORY),
    aspects=(
        _thing("plot", STORY, "thin"),
        _thing("ending", STORY, "thin"),
        _thing("dialogue", FIGURE),
        _thing("hero", FIGURE),
        _thing("characters", FIGURE, plural=True),
        _thing("prose", PROSE),
        _thing("style", PROSE),
        _thing("chapters", STORY, "short", plural=True),
    ),
    been=("read this {}", "finished this {}"),
    when=("last week", "on Friday", "with my sister", "at home", "on holiday"),
    again="read it again",
    bargains=("the money", "the time"),
    moves=True,
    stop="reading",
    loses="fell asleep",
    grips="could not put it down",
)
FOOD = Domain(
    kind="meal",
    names=("dinner", "lunch"),
    subject=_thing("it", "tasty delicious fresh cheap bland salty greasy cold expensive"),
    aspects=(
        _thing("soup", DISH),
        _thing("fish", DISH, "dry"),
        _thing("chips", DISH, "crisp soggy", plural=True),
        _thing("bread", BAKED),
        _thing("cake", BAKED, "rich sweet"),
        _thing("dessert", BAKED, "rich sweet small"),
        _thing("beer", _drink),
        _thing("wine", _drink, "sharp old"),
        _thing("coffee", "hot strong fresh rich cold weak bitter"),
        _thing("portions", "generous huge fair small", plural=True),
        _thing("menu", "short long clever original predictable expensive"),
        _thing("bill", "small fair low huge high", anything=False),
        _thing("waiter", PERSON),
    ),
    been=("had {} here", "came here for {}"),
    when=("last week", "on Friday", "with my sister", "with a friend", "with my family"),
    again="eat here again",
    bargains=("the money", "the price", "the wait"),
    this="Our",
    who=("I", "We"),
    stop="eating",
    returns=True,
)
HOTEL = Domain(
    kind="place",
    names=("hotel", "hostel", "inn"),
    subject=_thing("it", PLACE, "cheap expensive"),
    aspects=(
        _thing("rooms", PLACE, "warm hot huge small", plural=True),
        _thing("beds", "comfortable clean huge small dirty", plural=True),
        _thing("service", PERSON),
        _thing("staff", PERSON, plural=True),
        _thing("manager", PERSON),
        _thing("welcome", "warm kind friendly cold rude"),
        _thing("prices", "low fair high", anything=False, plural=True),
        _thing("standards", "high low", anything=False, plural=True),
        _thing("queue", "short small long huge", anything=False),
        _thing("bill", "small fair low huge high", anything=False),
    ),
    been=("stayed at this {}", "came to this {}"),
    when=("last week", "on Friday", "on holiday", "with a friend", "with my family", "for work"),
    again="stay here again",
    bargains=("the money", "the price"),
    who=("I", "We"),
    returns=True,
)
DOMAINS = {"film": FILM, "book": BOOK, "food": FOOD, "hotel": HOTEL}
THINGS = frozenset(
    noun
    for domain in DOMAINS.values()
    for noun in (*domain.names, domain.kind, *(thing.noun for thing in domain.aspects))
)
