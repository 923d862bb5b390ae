"""A name for what a program computes."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from struct import pack

from selectlib.programs._functions import FUNCTIONS
from selectlib.programs._statement import INPUTS, OUTPUTS, SLOTS, Statement

# A value is 16 bytes of digest and one byte that says which slots of the step before it depends on: bit 0 m, bit 1 v.
_BITS = {slot: 1 << number for number, slot in enumerate(SLOTS)}
_VALUES = {name: name.encode().ljust(16) + bytes([_BITS.get(name, 0)]) for name in INPUTS}


@lru_cache(maxsize=1 << 15)
def _value(function: str, *args: bytes | float | str) -> bytes:
    """Give the value of a function, of the values of its arguments; a zero comes as text, as its sign counts."""
    parts = [arg if isinstance(arg, bytes) else pack("<8sdB", b"constant", float(arg), 0) for arg in args]
    if FUNCTIONS[function].commutative:
        parts.sort()
    slots = 0
    for part in parts:
        slots |= part[-1]
    return blake2b(function.encode() + b"(" + b"".join(parts), digest_size=16).digest() + bytes([slots])


def key(statements: Sequence[Statement], cross_step: bool) -> bytes:
    """Digest the values of the outputs that count."""
    values: dict[str, bytes] = _VALUES.copy()
    for target, function, args in statements:
        values[target] = _value(
            function,
            *[values[arg] if arg.__class__ is str else arg or repr(arg) for arg in args],
        )
    if not cross_step:
        outputs: tuple[str, ...] = OUTPUTS
    else:
        slots = values["update"][-1]
        for _ in SLOTS:
            for slot, bit in _BITS.items():
                if slots & bit:
                    slots |= values[slot][-1]
        outputs = ("update", *(slot for slot, bit in _BITS.items() if slots & bit))
    return blake2b(b"".join(name.encode() + values[name] for name in outputs), digest_size=16).digest()
