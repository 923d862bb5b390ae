"""The edits around a program: all of them, once, always in one order."""

from itertools import islice

import numpy as np
import pytest

from selectlib.programs import ADAMW, DISCOVERED, FUNCTIONS, LION, Program, ProgramError, Statement, neighbourhood

INPUTS = {"w": "T", "g": "T", "m": "T", "v": "T", "lr": "S"}
UNARY = [name for name, f in FUNCTIONS.items() if f.arity == 1 and f.types.get("T") == "T"]


def brute_force(program):
    """The keys of all edits, from every statement that can be written with the program's names."""
    old = program.statements
    names = [*INPUTS, *dict.fromkeys(s.target for s in old)]
    found = [old[:i] + old[i + 1 :] for i in range(len(old))]
    for i, (target, function, args) in enumerate(old):
        types = dict(INPUTS)
        for s in old[:i]:
            types[s.target] = FUNCTIONS[s.function].types["".join(types.get(a, "S") for a in s.args)]
        for j in range(len(args)):
            for name in names:
                if name in types and types[name] == types.get(args[j], "S"):
                    changed = Statement(target, function, (*args[:j], name, *args[j + 1 :]))
                    found.append((*old[:i], changed, *old[i + 1 :]))
    for name in ("g", "m", "v", "update"):
        places = [i + 1 for i, s in enumerate(old) if s.target == name]
        place = places[0] if places and name != "g" else 0
        found += [(*old[:place], Statement(name, f, (name,)), *old[place:]) for f in UNARY]
    programs = map(Program, found)
    return {p.key() for p in programs if p.is_valid()} - {program.key()}


@pytest.mark.oracle
@pytest.mark.parametrize("program", [ADAMW, LION, DISCOVERED])
def test_all_edits_are_there_once(program):
    found = list(neighbourhood(program))
    keys = [p.key() for p in found]
    assert len(keys) == len(set(keys))
    assert set(keys) == brute_force(program)
    assert all(p.is_valid() for p in found)
    assert found == list(neighbourhood(program))


def test_a_sign_after_the_division_is_near_adamw():
    assert len(UNARY) == 29
    signed = Program.parse(ADAMW.source().replace("wd = w", "update = sign(update)\nwd = w"))
    assert signed in list(neighbourhood(ADAMW))


def test_two_edits_come_after_one():
    program = Program.parse("update = g * lr")
    near = list(neighbourhood(program))
    far = list(islice(neighbourhood(program, edits=2), len(near) + 400))
    assert far[: len(near)] == near
    assert len({p.key() for p in far} | {program.key()}) == len(near) + 401
    # Two insertions are two edits away, and no fewer.
    both = Program.parse("g = sin(g)\nupdate = g * lr\nupdate = tan(update)").key()
    assert both in {p.key() for p in far} and both not in {p.key() for p in near}


def test_a_list_needs_a_program_and_a_number():
    with pytest.raises(ValueError, match="edits must be at least 1"):
        next(neighbourhood(ADAMW, edits=0))
    with pytest.raises(TypeError, match="edits must be an int"):
        next(neighbourhood(ADAMW, edits=np.float64(1)))
    with pytest.raises(ProgramError):
        next(neighbourhood(Program.parse("m = sign(g)")))
