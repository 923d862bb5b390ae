"""Programs of the paper."""

from selectlib.programs._program import Program

ADAMW = Program.parse(
    """
g2 = square(g)
m = interp(g, m, 0.9)
v = interp(g2, v, 0.999)
sqrt_v = sqrt(v)
update = m / sqrt_v
wd = w * 0.01
update = update + wd
lr = lr * 0.001
update = update * lr
"""
)
"""AdamW without bias correction: where the search starts (Program 3 of the paper)."""

LION = Program.parse(
    """
update = interp(g, m, 0.9)
update = sign(update)
m = interp(g, m, 0.99)
wd = w * 1.0
update = update + wd
lr = lr * 0.0001
update = update * lr
"""
)
"""Lion (Program 1 of the paper), with a peak rate of 1e-4 and a weight decay of 1."""

DISCOVERED = Program.parse(
    """
g = clip(g, lr)
g = arcsin(g)
m = interp(g, v, 0.899)
m2 = m * m
v = interp(g, m, 1.109)
abs_m = sqrt(m2)
update = m / abs_m
wd = w * 0.4602
update = update + wd
lr = lr * 0.0002
m = cosh(update)
update = update * lr
"""
)
"""The program that the search found, as the authors print it (Program 4), from which they read off Lion."""
