"""A reward function that scores words and their order, and every beginning as it would by itself."""


class Words:
    """Counts what it is asked; `knows_wholes`: scores of whole responses come with those of beginnings."""

    def __init__(self, knows_wholes=True):
        self.calls, self.asked, self.knows_wholes = [], [], knows_wholes

    def __call__(self, prompts, responses):
        self.calls.append(len(responses))
        return [score(response) for response in responses]

    def partial_scores(self, prompts, responses, ends):
        self.asked.append(len(responses))
        found = [[score(text[:end]) for end in some] for text, some in zip(responses, ends, strict=True)]
        return found, [score(text) for text in responses] if self.knows_wholes else None


def score(text):
    total = 7.0  # of the prompt alone
    for word in text.split():
        total = 0.9 * total + int(word[1:]) / 40
    return total
