import numpy as np

# The first number of a stream's key: what is drawn.
WEIGHTS, ORDER, AUGMENT, SELF_SUPERVISION, SELECTION, ADAPTATION = range(6)


def stream_seed(seed: int, *key: int) -> int:
    """Derive from an experiment's seed the seed of one of its streams of draws, which a key of some numbers names.

    Examples
    --------
    >>> stream_seed(100, ORDER) != stream_seed(100, AUGMENT)
    True
    """
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1)[0])
