"""What words are worth: the one list that the grammar chooses from and the gold sentiment reads."""

from __future__ import annotations

ADJECTIVES: dict[str, float] = {
    # of anything
    "good": 0.55, "great": 0.8, "excellent": 0.9, "wonderful": 0.85, "superb": 0.95, "decent": 0.35, "fine": 0.3,
    "lovely": 0.65, "perfect": 0.96, "impressive": 0.62, "fantastic": 0.88, "brilliant": 0.86,
    "bad": -0.55, "poor": -0.6, "terrible": -0.9, "awful": -0.86, "horrible": -0.93, "dreadful": -0.88,
    "disappointing": -0.64, "mediocre": -0.42, "ordinary": -0.22,
    # of stories and those in them
    "clever": 0.58, "gripping": 0.76, "moving": 0.66, "original": 0.52, "exciting": 0.68, "funny": 0.6,
    "charming": 0.63, "convincing": 0.57, "natural": 0.43, "sharp": 0.48, "elegant": 0.54,
    "boring": -0.72, "dull": -0.61, "slow": -0.41, "predictable": -0.44, "confusing": -0.51, "silly": -0.36,
    "tedious": -0.68, "long": -0.34, "thin": -0.45, "wooden": -0.58, "flat": -0.46, "lazy": -0.53, "weak": -0.5,
    "old": -0.31, "loud": -0.39,
    # of food
    "tasty": 0.61, "delicious": 0.87, "fresh": 0.51, "crisp": 0.44, "rich": 0.4, "generous": 0.56,
    "bland": -0.49, "salty": -0.37, "greasy": -0.56, "stale": -0.69, "burnt": -0.65, "soggy": -0.54, "bitter": -0.38,
    # of people, places and prices
    "friendly": 0.59, "helpful": 0.64, "polite": 0.47, "kind": 0.53, "quick": 0.42, "clean": 0.46, "comfortable": 0.56,
    "quiet": 0.37, "fair": 0.36,
    "rude": -0.79, "careless": -0.57, "dirty": -0.67, "noisy": -0.48, "crowded": -0.35, "expensive": -0.4,
    # of some things good and of others bad, see EXCEPT
    "hot": 0.41, "warm": 0.45, "light": 0.38, "strong": 0.46, "short": 0.33, "huge": 0.43, "low": 0.4, "cheap": 0.39,
    "cold": -0.47, "dry": -0.43, "heavy": -0.4, "sweet": -0.33, "small": -0.39, "high": -0.42,
}  # fmt: skip

EXCEPT: dict[tuple[str, str], float] = {
    ("hot", "rooms"): -0.47, ("warm", "beer"): -0.52, ("warm", "wine"): -0.41, ("light", "plot"): -0.32,
    ("strong", "coffee"): 0.39, ("short", "menu"): -0.35, ("huge", "bill"): -0.58, ("huge", "queue"): -0.53,
    ("low", "standards"): -0.57, ("cheap", "effects"): -0.5, ("cheap", "music"): -0.45,
    ("cold", "beer"): 0.48, ("cold", "wine"): 0.37, ("dry", "wine"): 0.36, ("sweet", "dessert"): 0.42,
    ("sweet", "cake"): 0.38, ("small", "bill"): 0.41, ("small", "queue"): 0.34, ("high", "standards"): 0.55,
    ("long", "menu"): 0.31, ("sharp", "wine"): -0.4, ("old", "wine"): 0.35,
}  # fmt: skip
"""What an adjective is worth of one particular thing: a cold beer is no cold soup."""

# verb: its past, its base form, its worth
FELT = (("loved", "love", 0.81), ("liked", "like", 0.5), ("enjoyed", "enjoy", 0.65), ("admired", "admire", 0.58),
        ("hated", "hate", -0.84), ("disliked", "dislike", -0.52), ("regretted", "regret", -0.55))  # fmt: skip
MOVED = (("impressed", "impress", 0.63), ("surprised", "surprise", 0.46), ("delighted", "delight", 0.74),
         ("bored", "bore", -0.66), ("annoyed", "annoy", -0.6), ("disappointed", "disappoint", -0.65))  # fmt: skip
MADE = {"laugh": 0.54, "smile": 0.47, "think": 0.36, "yawn": -0.56, "cringe": -0.62}
FELT_LIKE = {"happy": 0.6, "pleased": 0.57, "unhappy": -0.59}
WAS_A = {"joy": 0.77, "delight": 0.74, "treat": 0.67, "pleasure": 0.64, "triumph": 0.85,
         "mess": -0.66, "disaster": -0.87, "disappointment": -0.71, "failure": -0.74}  # fmt: skip
HAD = {"charm": 0.53, "heart": 0.49, "character": 0.44, "flaws": -0.48, "problems": -0.54, "mistakes": -0.51}
OTHER = {"better": 0.52, "worse": -0.57, "wrong": -0.55, "complaints": -0.5, "regrets": -0.46, "worth": 0.6,
         "waste": -0.8, "again": 0.58, "recommend": 0.72, "avoid": -0.76, "refund": -0.73, "back": 0.56,
         "asleep": -0.63, "leave": -0.53, "down": -0.6, "reading": 0.45, "eating": 0.4, "laughing": 0.55}  # fmt: skip

WORTH: dict[str, float] = {
    **ADJECTIVES, **MADE, **FELT_LIKE, **WAS_A, **HAD, **OTHER,
    **{form: worth for past, base, worth in (*FELT, *MOVED) for form in (past, base)},
}  # fmt: skip
"""What each judging word is worth by itself, from -1 to 1."""

STRENGTHEN = {"really": 0.3, "very": 0.32, "truly": 0.36, "so": 0.28, "extremely": 0.5, "absolutely": 0.45,
              "far": 0.4, "much": 0.3, "absolute": 0.42, "complete": 0.38, "real": 0.25, "plenty": 0.25}  # fmt: skip
"""The share by which a worth moves towards its end of the scale."""

SOFTEN = {"bit": 0.55, "slightly": 0.5, "fairly": 0.7, "rather": 0.8, "quite": 0.85, "nearly": 0.75}
"""The share of its worth that a word keeps."""

NEGATE = {"not": 0.7, "never": 0.85, "hardly": 0.62, "no": 0.8, "nothing": 0.78, "little": 0.66, "neither": 0.72,
          "nor": 0.72, "lacked": 0.82, "failed": 0.8, "stop": 0.75, "stopped": 0.75, "wasn't": 0.7, "weren't": 0.7,
          "didn't": 0.7, "wouldn't": 0.7, "have": 0.55}  # fmt: skip
"""Words that turn a worth round, and the share that is left of it ("have": "could have been better")."""
ANYTHING_BUT, FAR_FROM = 0.95, 0.9  # two that take two words


def worth(word: str, thing: str = "") -> float:
    """Return what a judging word is worth, said of `thing`."""
    return EXCEPT.get((word, thing), WORTH[word])
