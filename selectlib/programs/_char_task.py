"""A larger task of another kind: predict the next character from the last few."""

from collections import Counter

import numpy as np

from selectlib._checks import check_int
from selectlib.data import topic_texts
from selectlib.programs._mlp_task import MLPTask


class CharTask(MLPTask):
    """Train a network with one hidden layer to predict a character from those before it.

    Each character of the context is an indicator vector, so that the first layer adds one row of weights a position.
    The last two tenths of the text are for validation and test; contexts are drawn from each part without replacement.

    Parameters
    ----------
    text : str, optional
        What to learn from. Default: Python's help topics, as `topic_texts` gives them.
    context : int, default 4
        Characters to predict from.
    alphabet : int, default 40
        Characters told apart, at least 2: the most frequent ones of the part for training, and one for all others.
    hidden : int, default 64
        Width of the hidden layer.
    counts : tuple of three ints, default (20000, 2000, 2000)
        Contexts to train on, to validate on and to test on.
    steps, batch : int, default 500 and 64
        As in `MLPTask`.
    draw_seed : int, default 0
        Seed of the choice of contexts.

    Raises
    ------
    TypeError
        If a count is not an int.
    ValueError
        If a count is out of range, or a part of the text has fewer contexts than asked for.

    Notes
    -----
    Memory of 4 · (context · alphabet + alphabet + 1) bytes an example: 19 MB for the defaults. Ours. The
    topics change with the version of Python.

    Examples
    --------
    >>> from selectlib.programs import ADAMW
    >>> task = CharTask("the quick brown fox jumps over the lazy dog " * 200, counts=(500, 200, 200), steps=100)
    >>> task.sizes, task.evaluate(ADAMW.with_constants([0.9, 0.999, 0.01, 0.03]), [100]) > -0.5
    ((160, 64, 40), True)
    """

    def __init__(
        self,
        text: str | None = None,
        *,
        context: int = 4,
        alphabet: int = 40,
        hidden: int = 64,
        counts: tuple[int, int, int] = (20_000, 2_000, 2_000),
        steps: int = 500,
        batch: int = 64,
        draw_seed: int = 0,
    ):
        check_int("context", context, 1)
        check_int("alphabet", alphabet, 2)
        text = "\n".join(topic_texts().texts) if text is None else text
        edges = [0, 8 * len(text) // 10, 9 * len(text) // 10, len(text)]
        frequent = Counter(text[: edges[1]]).most_common(alphabet - 1)
        codes = {character: code for code, (character, _) in enumerate(frequent)}
        coded = np.array([codes.get(character, alphabet - 1) for character in text])
        rng = np.random.default_rng(draw_seed)
        ends = []
        for name, count, low, high in zip(("training", "validation", "test"), counts, edges, edges[1:], strict=False):
            if high - low - context < check_int("counts", count, 1):
                raise ValueError(
                    f"counts asks for {count} contexts for {name}, text has {max(0, high - low - context)}"
                )
            ends.append(rng.choice(np.arange(low + context, high), count, replace=False))
        last = np.concatenate(ends)
        before = coded[last[:, None] + np.arange(-context, 0)]
        indicators = np.eye(alphabet, dtype=np.float32)[before]
        sizes = (context * alphabet, hidden, alphabet)
        super().__init__(indicators, coded[last], counts, sizes=sizes, steps=steps, batch=batch)
