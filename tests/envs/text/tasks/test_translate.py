import pytest

from textrlhf.envs.text.task import Prompt
from textrlhf.envs.text.tasks.translate import NOUNS, VERBS, Phrase, TextTranslate, german, sentence

MAN, TEACHER, WOMAN, CHILD = NOUNS["persons"]
DOG, CAT, HORSE = NOUNS["animals"]
BALL, BAG, BOOK = NOUNS["things"]
BY_NAME = {verb.english[1]: verb for verb in VERBS}


# a phrase, then its nominative, accusative and dative
@pytest.mark.parametrize(
    ("phrase", "cases"),
    [
        (Phrase("the", "old", MAN), "der alte Mann, den alten Mann, dem alten Mann"),
        (Phrase("the", "small", WOMAN), "die kleine Frau, die kleine Frau, der kleinen Frau"),
        (Phrase("the", "good", CHILD), "das gute Kind, das gute Kind, dem guten Kind"),
        (Phrase("the", "big", DOG, True), "die großen Hunde, die großen Hunde, den großen Hunden"),
        (Phrase("the", "new", CAT, True), "die neuen Katzen, die neuen Katzen, den neuen Katzen"),
        (Phrase("the", "beautiful", HORSE, True), "die schönen Pferde, die schönen Pferde, den schönen Pferden"),
        (Phrase("a", "old", TEACHER), "ein alter Lehrer, einen alten Lehrer, einem alten Lehrer"),
        (Phrase("a", "new", BAG), "eine neue Tasche, eine neue Tasche, einer neuen Tasche"),
        (Phrase("a", "good", BOOK), "ein gutes Buch, ein gutes Buch, einem guten Buch"),
        (Phrase("my", "small", BALL), "mein kleiner Ball, meinen kleinen Ball, meinem kleinen Ball"),
        (Phrase("my", "old", CAT), "meine alte Katze, meine alte Katze, meiner alten Katze"),
        (Phrase("my", "big", HORSE), "mein großes Pferd, mein großes Pferd, meinem großen Pferd"),
        (Phrase("my", "good", MAN, True), "meine guten Männer, meine guten Männer, meinen guten Männern"),
        (Phrase("my", "", TEACHER, True), "meine Lehrer, meine Lehrer, meinen Lehrern"),
        (Phrase("my", "", CHILD, True), "meine Kinder, meine Kinder, meinen Kindern"),
        (Phrase("the", "", WOMAN, True), "die Frauen, die Frauen, den Frauen"),
        (Phrase("the", "", BALL, True), "die Bälle, die Bälle, den Bällen"),
        (Phrase("the", "", BAG, True), "die Taschen, die Taschen, den Taschen"),
        (Phrase("the", "", BOOK, True), "die Bücher, die Bücher, den Büchern"),
        (Phrase("a", "", DOG), "ein Hund, einen Hund, einem Hund"),
    ],
)
def test_inflections(phrase, cases):
    assert [german(phrase, case) for case in ("nominative", "accusative", "dative")] == cases.split(", ")


OLD_MAN, A_DOG, THE_WOMEN = Phrase("the", "old", MAN), Phrase("a", "", DOG), Phrase("the", "", WOMAN, True)


@pytest.mark.parametrize(
    ("parts", "source", "target"),
    [
        ((OLD_MAN, "see", A_DOG), "The old man sees a dog.", "Der alte Mann sieht einen Hund."),
        ((THE_WOMEN, "find", A_DOG), "The women find a dog.", "Die Frauen finden einen Hund."),
        ((OLD_MAN, "help", THE_WOMEN), "The old man helps the women.", "Der alte Mann hilft den Frauen."),
        ((A_DOG, "follow", OLD_MAN), "A dog follows the old man.", "Ein Hund folgt dem alten Mann."),
        ((A_DOG, "play", OLD_MAN), "A dog plays with the old man.", "Ein Hund spielt mit dem alten Mann."),
        (
            (OLD_MAN, "buy", Phrase("a", "old", BAG)),
            "The old man buys an old bag.",
            "Der alte Mann kauft eine alte Tasche.",
        ),
        # a time first: the verb before the subject
        (
            (THE_WOMEN, "love", A_DOG, None, "", "Now"),
            "Now the women love a dog.",
            "Jetzt lieben die Frauen einen Hund.",
        ),
        # a modal verb: the other verb last
        ((OLD_MAN, "see", A_DOG, None, "can"), "The old man can see a dog.", "Der alte Mann kann einen Hund sehen."),
        (
            (THE_WOMEN, "play", A_DOG, None, "must", "Today"),
            "Today the women must play with a dog.",
            "Heute müssen die Frauen mit einem Hund spielen.",
        ),
        # the dative before the accusative
        (
            (OLD_MAN, "give", Phrase("my", "new", BALL), THE_WOMEN),
            "The old man gives the women my new ball.",
            "Der alte Mann gibt den Frauen meinen neuen Ball.",
        ),
        (
            (THE_WOMEN, "give", Phrase("the", "", BOOK), Phrase("a", "small", CHILD), "can", "Often"),
            "Often the women can give a small child the book.",
            "Oft können die Frauen einem kleinen Kind das Buch geben.",
        ),
    ],
)
def test_sentences(parts, source, target):
    subject, verb, *rest = parts
    assert sentence(subject, BY_NAME[verb], *rest) == (source, target)


def test_each_sentence_has_one_translation():
    prompts = TextTranslate().prompts("train")
    assert len({prompt.text for prompt in prompts}) == len({prompt.reference for prompt in prompts})


def test_a_wrong_inflection_lowers_the_score():
    prompt = Prompt("English: The man sees a dog.\nGerman:", " Der Mann sieht einen Hund.")
    responses = [
        " Der Mann sieht einen Hund.",
        " Der Mann sieht ein Hund.",
        " Der Hund sieht einen Mann.",
        " Die Katze",
    ]
    gold = TextTranslate().measure([prompt] * 4, responses)["gold"]
    assert gold[0] == pytest.approx(1)
    # 5 of 6, 3 of 5 (Der Mann, Mann sieht, Hund .), 1 of 4, none of 3
    assert gold[1] == pytest.approx((5 / 6 * 3 / 5 * 1 / 4 * 1 / 6) ** (1 / 4))
    assert gold[0] > gold[1] > gold[2] > gold[3] == 0
    assert TextTranslate().measure([prompt] * 2, responses[:2])["exact"].tolist() == [1, 0]
