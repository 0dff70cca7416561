"""Packing: each text is complete in its row and attends to itself alone; shared tokens are stored once."""

from __future__ import annotations

import numpy as np
import pytest

from textrlhf.reward_models.text.packing import PADDING, ROW, Text, pack


def text(*tokens, start=0):
    return Text(np.array(tokens, np.int64), start, len(tokens))


def some_groups(seed):
    """Groups with a common prompt, responses with a common beginning or equal ones, some empty prompts."""
    rng = np.random.default_rng(seed)
    texts, groups = [], []
    for _ in range(12):
        prompt = rng.integers(0, 3, rng.integers(0, 9))
        group = []
        for _ in range(rng.integers(1, 6)):
            response = rng.integers(0, 3, rng.integers(0 if len(prompt) else 1, 7))
            group.append(len(texts))
            texts.append(Text(np.concatenate([prompt, response]), len(prompt), len(prompt) + len(response)))
        groups.append(group)
    return texts, groups


def sees(row, place):
    """The positions that a position attends to."""
    return [p for p in range(place + 1) if row.branches[p] in (0, row.branches[place])]


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_each_text_is_packed_once_and_attends_to_itself(seed, share):
    """Guards against a position too many or too few on a path."""
    texts, groups = some_groups(seed)
    rows = pack(texts, groups, share)
    assert sorted(i for row in rows for i in row.texts) == list(range(len(texts)))
    for row in rows:
        assert len(row.tokens) == len(row.positions) == len(row.branches)
        assert (row.branches > PADDING).all()
        for i, path in zip(row.texts, row.paths, strict=True):
            assert row.tokens[path].tolist() == texts[i].tokens.tolist()
            assert row.positions[path].tolist() == list(range(len(texts[i].tokens)))
            for n, place in enumerate(path.tolist()):
                assert sees(row, place) == path[: n + 1].tolist()


def test_without_sharing():
    texts, groups = some_groups(0)
    rows = pack(texts, groups, share=False)
    assert [row.texts for row in rows] == [(i,) for i in range(len(texts))]
    assert all((row.branches == 0).all() for row in rows)


def test_common_beginning_is_stored_once():
    """Beyond the prompt too, where two answers begin alike."""
    texts = [text(5, 6, 7, 1, 2, start=3), text(5, 6, 7, 1, 3, 4, start=3)]
    (row,) = pack(texts, [[0, 1]], share=True)
    assert row.tokens.tolist() == [5, 6, 7, 1, 2, 3, 4]
    assert row.positions.tolist() == [0, 1, 2, 3, 4, 4, 5]
    assert row.branches.tolist() == [0, 0, 0, 0, 1, 2, 2]


def test_equal_texts_and_prefixes():
    texts = [text(5, 6, start=2), text(5, 6, 7, start=2), text(5, 6, start=2)]
    (row,) = pack(texts, [[0, 1, 2]], share=True)
    assert row.tokens.tolist() == [5, 6, 7]
    assert [path.tolist() for path in row.paths] == [[0, 1], [0, 1, 2], [0, 1]]


def test_length_of_rows():
    """Guards against attention over one row with all responses to a prompt."""
    prompt, rng = list(range(20)), np.random.default_rng(0)
    texts = [text(*prompt, *rng.integers(100, 200, 15), start=20) for _ in range(100)]
    rows = pack(texts, [list(range(100))], share=True)
    assert max(len(row.tokens) for row in rows) <= ROW
    assert min(len(row.texts) for row in rows[:-1]) == (ROW - 20) // 15
    assert sum(len(row.tokens) for row in rows) < 0.5 * sum(len(t.tokens) for t in texts)


def test_long_texts_share_their_prompt():
    prompt = list(range(400))
    (row,) = pack([text(*prompt, 1, 2, start=400), text(*prompt, 3, 4, start=400)], [[0, 1]], share=True)
    assert len(row.tokens) == 404
