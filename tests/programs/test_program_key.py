"""Keys: equal for programs that compute the same by rewriting names and order, different for the rest."""

from collections import defaultdict
from itertools import product

import numpy as np
import pytest

from selectlib.programs import ADAMW, DISCOVERED, FUNCTIONS, LION, Program, Statement


def with_dead_statements(program, rng):
    statements = list(program.statements)
    for number in range(3):
        place = int(rng.integers(len(statements) + 1))
        statements.insert(place, Statement(f"dead{number}", str(rng.choice(["sqrt", "cos"])), ("w",)))
    return Program(statements)


def renamed(program):
    given = {"w", "g", "m", "v", "lr", "update"}
    names = {name: f"local_{name}" for name, _, _ in program.statements if name not in given}
    return Program(
        Statement(names.get(target, target), function, tuple(names.get(a, a) for a in args))
        for target, function, args in program.statements
    )


def shuffled(program, rng):
    """Swap neighbours that do not depend on each other."""
    statements = list(program.statements)
    for _ in range(50):
        i = int(rng.integers(len(statements) - 1))
        first, second = statements[i : i + 2]
        if first.target not in second.args and second.target not in first.args and first.target != second.target:
            statements[i : i + 2] = [second, first]
    return Program(statements)


def commuted(program):
    return Program(
        Statement(target, function, (args[1], args[0]) if FUNCTIONS[function].commutative else args)
        for target, function, args in program.statements
    )


@pytest.mark.oracle
@pytest.mark.parametrize("program", [ADAMW, LION, DISCOVERED])
def test_what_makes_no_difference(program):
    rng = np.random.default_rng(1)
    for cross_step in (True, False):
        key = program.key(cross_step)
        assert len(key) == 16
        assert renamed(program).key(cross_step) == key
        assert commuted(program).key(cross_step) == key
        orders = {shuffled(program, rng) for _ in range(20)}
        assert len(orders) > 1 and {other.key(cross_step) for other in orders} == {key}
        assert with_dead_statements(program, rng).key(cross_step) == key


@pytest.mark.oracle
@pytest.mark.parametrize("program", [ADAMW, LION, DISCOVERED])
def test_what_makes_a_difference(program):
    keys = {program.key()}
    live = program.live()
    count = 1
    for number, (target, function, args) in enumerate(program.statements):
        if not live[number]:
            continue
        others = [Statement(target, "min" if function == "+" else "tanh" if len(args) == 1 else "+", args)]
        others += [
            Statement(target, function, (*args[:place], args[place] * 1.5, *args[place + 1 :]))
            for place, arg in enumerate(args)
            if isinstance(arg, float)
        ]
        if function in ("-", "/", "interp"):
            others.append(Statement(target, function, (args[1], args[0], *args[2:])))
        for other in others:
            if other != program.statements[number]:
                changed = list(program.statements)
                changed[number] = other
                keys.add(Program(changed).key())
                count += 1
    assert len(keys) == count


def test_a_slot_that_no_later_step_reads_is_not_in_the_key_across_steps():
    without = DISCOVERED.without(10)
    assert without.key() == DISCOVERED.key()
    assert without.key(cross_step=False) != DISCOVERED.key(cross_step=False)


def test_the_sign_of_zero_and_whole_numbers_are_told_apart():
    sources = [f"update = max(g, {x})" for x in ("0.0", "-0.0", "1.0", "-1.0", "-2.0")]
    for _ in range(2):  # in whatever order they come
        assert len({Program.parse(source).key() for source in sources}) == 5
        sources.reverse()


def test_keys_are_the_same_in_every_process():
    assert LION.key().hex() == "66c421214c6c23d0921bff427d4ffe42"


def outputs(program, seed=2, steps=3):
    """Run a few steps, from slots that are not zero; give the updates' bits."""
    rng = np.random.default_rng(seed)
    w, m, v = rng.normal(size=(3, 7)).astype(np.float32)
    run = program.compile()
    updates = []
    with np.errstate(all="ignore"):
        for step in range(steps):
            update, m, v = run(w, rng.normal(size=7).astype(np.float32), m, v, 0.3 + 0.1 * step)
            updates.append(np.where(np.isnan(update), np.float32(np.nan), update + np.float32(0)))
    return np.concatenate(updates).tobytes()


@pytest.mark.oracle
def test_equal_keys_mean_equal_bits():
    rng = np.random.default_rng(3)
    by_key = defaultdict(list)
    pairs = 0
    names = ("w", "g", "m", "v", "lr", "update", "a")
    functions = ("+", "*", "-", "max", "sqrt", "interp")
    while pairs < 1000:
        statements = []
        for _ in range(3):
            function = functions[rng.integers(len(functions))]
            args = tuple(names[rng.integers(len(names))] for _ in range(FUNCTIONS[function].arity))
            statements.append(Statement(names[rng.integers(len(names))], function, args))
        program = Program(statements)
        if program.is_valid():
            group = by_key[program.key()]
            if program not in group:
                pairs += bool(group)
                group.append(program)
    for group in by_key.values():
        assert len({outputs(program) for program in group[:8]}) == 1


@pytest.mark.oracle
def test_short_programs_have_as_many_keys_as_there_are_functions():
    """All programs of at most two statements over four functions; the exceptions are algebra that keys do not know."""
    functions = ["sqrt", "negative", "+", "*"]
    targets, inputs = ("update", "m"), ("w", "g", "m")

    def statements(names):
        for function in functions:
            for args in product(names, repeat=FUNCTIONS[function].arity):
                for target in targets:
                    yield Statement(target, function, args)

    programs = [Program((a,)) for a in statements(inputs)]
    programs += [Program((a, b)) for a in statements(inputs) for b in statements(dict.fromkeys((*inputs, a.target)))]
    by_key = {program.key(): program for program in programs if program.is_valid()}
    by_bits = defaultdict(list)
    for program in by_key.values():
        by_bits[outputs(program)].append(program)
    assert (len(programs), len(by_key), len(by_bits)) == (3120, 486, 446)
    for group in by_bits.values():
        doubling = [s for program in group for s in program.statements if s.function == "+" and len(set(s.args)) == 1]
        negation = [s for program in group for s in program.statements if s.function == "negative"]
        assert len(group) == 1 or doubling or negation  # (x + x)·y = x·y + x·y, and signs that cancel
