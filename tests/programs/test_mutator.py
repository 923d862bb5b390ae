"""Mutations: one edit, always valid, by the law told; programs from scratch."""

import re
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from selectlib.programs import ADAMW, FUNCTIONS, LION, Mutator, Program, RandomPrograms, random_program

LEVEL = 1e-3
KINDS = ("insert", "delete", "modify", "constant")
SHORT = Program.parse("update = w * 0.5")


def chi_square(counts, shares):
    """p-value of counts whose expected shares are given, key by key."""
    assert set(counts) <= set(shares)
    total = sum(counts.values())
    return stats.chisquare([counts[k] for k in shares], [total * share for share in shares.values()]).pvalue


def runs(statements):
    """Whether statements run on arrays and floats and end with three arrays, told by an interpreter without types."""
    trees = {name: np.full(2, 0.3) for name in ("w", "g", "m", "v")}
    variables = {**trees, "lr": 0.5}

    def takes_trees(*arrays):
        if not all(isinstance(array, np.ndarray) for array in arrays):
            raise TypeError

    try:
        for target, function, args in statements:
            values = [variables[arg] if isinstance(arg, str) else arg for arg in args]
            if function in ("dot", "cosine_sim", "global_norm", "norm"):
                takes_trees(*values)
                result = values[0] if function == "norm" else 1.0
            elif function == "clip":
                takes_trees(values[0])
                result = values[0] * float(values[1])
            elif function == "interp":
                result = values[0] + values[1] + float(values[2])
            else:
                result = sum(values, 0.0)
            variables[target] = result
    except (KeyError, TypeError):
        return False
    return all(isinstance(variables.get(name), np.ndarray) for name in ("update", "m", "v"))


@pytest.mark.oracle
def test_what_is_called_valid_is_what_runs():
    rng, mutator, program = np.random.default_rng(100), Mutator(max_length=12), ADAMW
    verdicts = Counter()
    for _ in range(10_000):
        _, statements = mutator.propose(program.statements, rng)
        if statements is not None:
            child = Program(statements)
            assert child.is_valid() == runs(statements), child.source()
            verdicts[child.is_valid()] += 1
            if child.is_valid():
                program = child
    assert min(verdicts.values()) > 300


@pytest.mark.oracle
@pytest.mark.parametrize(("weights", "n"), [((1, 1, 1, 0), 30_000), ((1, 2, 3, 4), 5000)])
def test_kinds_are_drawn_by_their_weights(weights, n):
    rng, mutator = np.random.default_rng(100), Mutator(weights)
    counts = Counter(mutator.propose(LION.statements, rng)[0] for _ in range(n))
    shares = {kind: weight / sum(weights) for kind, weight in zip(KINDS, weights, strict=True) if weight}
    assert chi_square(counts, shares) > LEVEL


@pytest.mark.oracle
@pytest.mark.parametrize("weights", [{"constant": 1}, {"modify": 1}])
def test_constants_change_by_two_to_a_normal_number(weights):
    rng, mutator = np.random.default_rng(100), Mutator(weights)
    steps = []
    for _ in range(4000):
        _, ((_, _, (tree, constant)),) = mutator.propose(SHORT.statements, rng)
        if tree == "w" and isinstance(constant, float) and constant > 0:
            steps.append(np.log2(constant / 0.5))
    if "constant" in weights:
        assert len(steps) == 4000
        assert stats.kstest(steps, "norm").pvalue > LEVEL
    else:  # of 13 constants above 0, one is new: scaled with probability 1/2, new 1/12, of which half are above 0

        def law(a):
            return (12 * stats.norm.cdf(a) + stats.halfnorm.cdf(0.5 * 2**a)) / 13

        assert stats.kstest(steps, law).pvalue > LEVEL


@pytest.mark.oracle
def test_an_argument_becomes_what_is_there_or_a_constant():
    rng, mutator = np.random.default_rng(100), Mutator({"modify": 1})
    counts = Counter()
    for _ in range(8000):
        _, ((_, _, args),) = mutator.propose(SHORT.statements, rng)
        position = 0 if args[0] != "w" else 1
        counts[position, args[position] if isinstance(args[position], str) else "constant"] += 1
    first = dict.fromkeys(((0, x) for x in ("g", "m", "v", "lr", "constant")), 1 / 10)
    second = dict.fromkeys(((1, x) for x in ("w", "g", "m", "v", "lr")), 1 / 24)
    assert chi_square(counts, first | second | {(1, "constant"): 1 / 4 + 1 / 24}) > LEVEL


@pytest.mark.oracle
def test_insertions_are_uniform_in_place_function_and_target():
    rng, mutator, old = np.random.default_rng(100), Mutator({"insert": 1}), SHORT.statements[0]
    places, functions, targets, constants = Counter(), Counter(), Counter(), Counter()
    for _ in range(8000):
        _, statements = mutator.propose(SHORT.statements, rng)
        place = next(i for i in (0, 1) if statements[1 - i] is old)
        target, function, args = statements[place]
        assert not args or any(isinstance(arg, str) for arg in args)
        places[place] += 1
        functions[function] += 1
        if place == 0 and function == "square":
            targets[args[0] == "lr", target] += 1
        if place == 0 and function == "clip":
            constants[type(args[1])] += 1
    assert chi_square(places, {0: 0.5, 1: 0.5}) > LEVEL
    assert chi_square(functions, dict.fromkeys(set(FUNCTIONS) - {"invert"}, 1 / 44)) > LEVEL
    new = next(name for _, name in targets if name not in ("w", "g", "m", "v", "lr"))
    shares = {(False, name): 0.8 / 5 for name in ("w", "g", "m", "v", new)} | {(True, "lr"): 0.1, (True, new): 0.1}
    assert chi_square(targets, shares) > LEVEL
    assert chi_square(constants, {str: 0.5, float: 0.5}) > LEVEL


def test_a_child_is_valid_and_one_edit_away():
    rng, mutator, parent = np.random.default_rng(100), Mutator((1, 1, 1, 1), max_length=14), ADAMW
    kinds = Counter()
    for _ in range(1000):
        before = parent.source()
        child, kind, tries = mutator(parent, rng)
        assert parent.source() == before
        assert child.is_valid() and tries >= 1 and len(child) <= 14
        old, new = parent.statements, child.statements
        shorter, longer = sorted((old, new), key=len)
        if kind in ("insert", "delete"):
            assert len(new) - len(old) == (1 if kind == "insert" else -1)
            assert any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))
        else:
            (place,) = (i for i in range(len(old)) if old[i] != new[i])
            assert len(new) == len(old) and old[place][:2] == new[place][:2]
            assert sum(a != b for a, b in zip(old[place].args, new[place].args, strict=True)) == 1
        kinds[kind] += 1
        parent = child
    assert min(kinds[kind] for kind in KINDS) > 50


def test_a_new_name_hides_no_other():
    rng, mutator = np.random.default_rng(100), Mutator({"insert": 1})
    program = ADAMW
    for _ in range(60):
        child = mutator(program, rng).program
        (added,) = Counter(child.statements) - Counter(program.statements)
        names = {"w", "g", "m", "v", "lr"} | {s.target for s in program.statements}
        if added.target not in names:
            assert not any(added.target in s.args for s in child.statements)
        program = child


def test_tries_count_those_that_were_not_valid():
    # Of the nine deletions from AdamW four leave a variable undefined.
    rng = np.random.default_rng(100)
    tries = [Mutator({"delete": 1})(ADAMW, rng).tries for _ in range(4000)]
    assert np.mean(tries) == pytest.approx(9 / 5, abs=5 * np.std(tries) / 4000**0.5)


def test_only_constants():
    rng, program = np.random.default_rng(100), ADAMW
    for _ in range(20):
        program = Mutator.constants_only()(program, rng).program
    assert program.with_constants(ADAMW.constants()) == ADAMW
    assert all(x > 0 for x in program.constants()) and program.constants() != ADAMW.constants()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1, 1, 1), "weights must be 4"),
        ({"insert": 1, "swap": 1}, "weights must name insert, delete, modify, constant alone, got 'insert', 'swap'"),
        ((1, -1, 1, 0), "weights must be finite, at least 0"),
        ((1, np.inf, 1, 0), "weights must be finite, at least 0"),
        ((0, 0, 0, 0), "not all 0"),
        ({}, "not all 0"),
    ],
)
def test_weights_that_are_none(weights, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Mutator(weights)


def test_bad_lengths_and_parents_without_children():
    with pytest.raises(ValueError, match="max_length must be at least 1"):
        Mutator(max_length=0)
    with pytest.raises(TypeError, match="max_length must be an int"):
        Mutator(max_length=2.5)
    with pytest.raises(ValueError, match="program must have a valid child"):
        Mutator.constants_only()(Program.parse("update = sign(g)"), np.random.default_rng(100))


@pytest.mark.parametrize("length", [1, 2, 9])
def test_random_programs_are_valid_and_end_in_the_update(length):
    rng = np.random.default_rng(100)
    programs = [random_program(rng, length) for _ in range(200)]
    assert all(p.is_valid() and len(p) == length and p.statements[-1].target == "update" for p in programs)
    assert len({s.function for p in programs for s in p.statements}) > 25
    assert random_program(np.random.default_rng(100), length) == programs[0]


def test_random_programs_need_a_length():
    with pytest.raises(ValueError, match="length must be at least 1"):
        random_program(np.random.default_rng(100), 0)
    with pytest.raises(TypeError, match="length must be an int"):
        RandomPrograms("3")
