"""The simplifier: what it derives, and that each of its steps keeps what it says it keeps."""

import numpy as np
import pytest

from selectlib.programs import ADAMW, DISCOVERED, LION, Mutator, Program


def train(program, steps=50, n=40, seed=0, scale=1.0, dtype=np.float32):
    """Run a program on noisy gradients; give the weights and the slots that count, after each step."""
    rng = np.random.default_rng(seed)
    w, m, v = rng.normal(size=n).astype(dtype), np.zeros(n, dtype), np.zeros(n, dtype)
    run = program.compile()
    kept = [0, *(1 + ("m", "v").index(slot) for slot in program.live_slots())]
    rows = []
    with np.errstate(all="ignore"):
        for step in range(steps):
            g = (scale * (w + rng.normal(size=n))).astype(dtype)
            update, m, v = run(w, g, m, v, (1 + step % 7) / 7)
            w = w - update
            rows.append([(w, m, v)[i] for i in kept])
    return np.array(rows)


@pytest.mark.oracle
@pytest.mark.parametrize("program", [ADAMW, LION, DISCOVERED])
def test_the_exact_tier_keeps_every_bit(program):
    trail = program.simplify()
    assert trail.exact
    for step in trail.steps:
        np.testing.assert_array_equal(train(Program(step.before)), train(Program(step.after)))
    np.testing.assert_array_equal(train(program), train(trail.program))


@pytest.mark.oracle
def test_the_exact_tier_keeps_every_bit_of_random_programs():
    rng = np.random.default_rng(1)
    mutate = Mutator(max_length=30)
    changed = 0
    for start in (ADAMW, DISCOVERED):
        program = start
        for _ in range(300):
            program = mutate(program, rng).program
            trail = program.simplify()
            changed += len(trail.steps) > 1
            assert trail.program.is_valid() and all(trail.program.live())
            assert trail.program.simplify().steps == ()
            assert trail.program.live_slots() == program.live_slots() or len(trail.steps) > 1
            np.testing.assert_array_equal(train(program, 3, 5), train(trail.program, 3, 5), err_msg=repr(program))
    assert changed > 50


@pytest.mark.oracle
def test_the_tier_of_the_reals_is_idempotent_and_valid_on_random_programs():
    rng = np.random.default_rng(2)
    mutate = Mutator(max_length=30)
    program = DISCOVERED
    for _ in range(200):
        program = mutate(program, rng).program
        simple = program.simplify(exact=False).program
        simple.validate()
        assert simple.simplify(exact=False).steps == () and len(simple) <= len(program)


@pytest.mark.oracle
def test_the_discovered_program_needs_eleven_statements_and_one_slot():
    simple = DISCOVERED.simplify().program
    assert len(simple) == 11 and all(simple.live()) and simple.live_slots() == ("v",)
    assert simple.simplify().steps == ()


@pytest.mark.oracle
def test_the_discovered_program_without_clip_and_arcsin_becomes_lion():
    lion = LION.with_constants((0.899, 0.899 * 1.109, 0.4602, 0.0002))
    assert 0.899 * 1.109 == pytest.approx(0.996991, abs=1e-12)
    derived = DISCOVERED.simplify(exact=False).program
    assert [derived.statements[i].function for i in (0, 1)] == ["clip", "arcsin"]
    assert derived.without(0).without(0).key() == lion.key()
    ablated = DISCOVERED.without(0).without(0)
    assert ablated.simplify(exact=False).program.key() == lion.key()
    assert not ablated.simplify(exact=False).exact


@pytest.mark.oracle
def test_the_ablated_program_and_lion_have_equal_signs():
    """In float64, 500 steps of 1,000 coordinates, at gradients that are large against the divisor's 1e-8."""
    ablated, lion = DISCOVERED.without(0).without(0), LION.with_constants((0.899, 0.899 * 1.109, 0.4602, 0.0002))
    rng = np.random.default_rng(3)
    run, run_lion = ablated.compile(), lion.compile()
    w = np.zeros(1000)
    m = v = m_lion = np.zeros(1000)
    for _ in range(500):
        g = rng.normal(size=1000)
        update, _, v = run(w, g, m, v, 1.0)
        update_lion, m_lion, _ = run_lion(w, g, m_lion, m, 1.0)
        assert np.array_equal(np.sign(update), np.sign(update_lion))
    assert np.abs(v - m_lion).max() < 1e-12


@pytest.mark.oracle
def test_nested_interps():
    rng = np.random.default_rng(4)
    g, v = rng.normal(size=(2, 1000))
    # the simpler one reads the slot as m
    nested = Program.parse("m = interp(g, v, 0.899); update = interp(g, m, 1.109)")
    flat = nested.simplify(exact=False).program
    assert len(flat) == 1 and flat.constants() == (0.899 * 1.109,)
    outputs = [program.compile()(g, g, v, v, 1.0)[0] for program in (nested, flat)]
    np.testing.assert_allclose(*outputs, atol=1e-12)


@pytest.mark.oracle
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6, 1e-8])
def test_the_bound_of_the_sign_holds(scale):
    g = np.random.default_rng(5).normal(size=1000) * scale
    before, after = Program.parse("a = abs(g); update = g / a"), Program.parse("update = sign(g)")
    assert before.simplify(exact=False).program == after
    gap = np.abs(before.compile()(g, g, g, g, 1.0)[0] - after.compile()(g, g, g, g, 1.0)[0])
    assert (gap <= 1e-8 / np.abs(g) + 1e-15).all() and gap.max() > 1e-10


@pytest.mark.parametrize(
    ("source", "simple"),
    [
        ("s = get_pi() * 2\nupdate = g * s", "update = g * 6.283185307179586"),
        ("update = g * 1", None),  # the update would need a copy of g
        ("a = g * 1\nupdate = sqrt(a)", "update = sqrt(g)"),
        ("a = sign(g)\nb = sign(a)\nupdate = b * lr", "a = sign(g)\nupdate = a * lr"),
        ("a = abs(g)\nb = sqrt(a)\nupdate = abs(b)", "update = sqrt(g)"),
        ("a = g * w\nb = w * g\nupdate = a - b", None),  # the order of a product is left alone
        ("a = sqrt(g)\nb = sqrt(g)\nupdate = a - b", "a = sqrt(g)\nupdate = a - a"),
        ("a = negative(g)\nb = negative(a)\nupdate = max(b, b)", "update = max(g, g)"),  # no copy of g here either
        ("m = sqrt(g)\nupdate = sqrt(m)\nm = cos(update)", "m = sqrt(g)\nupdate = sqrt(m)"),
        ("m = dot(g, g)\nupdate = w * m\nm = cos(update)", "t1 = dot(g, g)\nupdate = w * t1"),
        ("s = exp(1000.0)\nupdate = g * s", None),  # no constant for infinity
    ],
)
def test_exact_rules(source, simple):
    program = Program.parse(source)
    assert program.simplify().program.source() == (simple or program.source())


def test_an_old_slot_is_read_before_it_is_set():
    program = Program.parse("v = interp(g, v, 0.5)\nupdate = interp(g, v, 0.5)")
    assert program.simplify(exact=False).program.source() == "update = interp(g, m, 0.25)\nm = interp(g, m, 0.5)"
    cyclic = Program.parse(
        "v = interp(g, v, 0.5)\na = v * w\nb = interp(g, v, 0.5)\nc = a * a\nv = b * c\nupdate = c * lr"
    )
    np.testing.assert_allclose(train(cyclic), train(cyclic.simplify(exact=False).program), rtol=1e-3)


def test_the_trail_reads_well():
    trail = DISCOVERED.simplify(exact=False)
    assert len(str(trail).splitlines()) > 15
    assert str(trail).startswith("1. what no output needs is dropped (bit for bit)\n  - m = cosh(update)\n2. the root")
    assert "1e-8/|x|" in str(trail) and not trail.exact
    assert trail.steps[0].exact and not trail.steps[1].exact
