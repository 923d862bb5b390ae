"""What must be right before the Lion benchmark times anything."""

from collections.abc import Iterator

import torch
from _lion_races import SETTINGS, Make, other_lions, parameters
from _setting import Setting

from selectlib.optim import Lion

STEPS = 20
BETAS = 0.9, 0.99
ZONE = 4 * 2**-23  # of |m| + |g|: nearer to 0 the sign of the mean is a matter of rounding


def correctness(setting: Setting) -> dict[str, dict]:
    """Every Lion, ours and others', against a reference of separate roundings.

    Raises
    ------
    RuntimeError
        If something is wrong: then nothing is timed.
    """
    mine: dict[str, tuple[str, Make]] = {
        "fused": ("Lion, fused (ours)", lambda params: Lion(params, fused=True, **SETTINGS)),
        "foreach": ("Lion, foreach (ours)", lambda params: Lion(params, foreach=True, fused=False, **SETTINGS)),
        "loop": ("Lion, loop (ours)", lambda params: Lion(params, foreach=False, fused=False, **SETTINGS)),
    }
    checks = {
        name: against_reference(label, make, setting.device)
        for name, (label, make) in (mine | other_lions(setting.device)).items()
    }
    for check in checks.values():
        if not check["error"] <= check["allowed"]:
            raise RuntimeError(f"{check['label']}: {check['error']:.2g} of {check['n']}; nothing is timed")
    return checks


def against_reference(label: str, make: Make, device: torch.device) -> dict:
    """How many weights differ after some steps, of those that were never near a change of sign.

    On CUDA, where others may fuse a product and a sum, one rounding more or less is no difference.
    """
    params = parameters(device, quick=True)
    start = [p.detach().clone() for p in params]
    optimizer, trail = make(params), list(gradients(params))
    for grads in trail:
        for p, g in zip(params, grads, strict=True):
            p.grad.copy_(g)
        optimizer.step()
    wrong = compared = 0
    for i, p in enumerate(params):
        expected, sure = reference(start[i], [grads[i] for grads in trail])
        off = (p.detach().view(torch.int32) - expected.view(torch.int32)).abs()
        wrong += int((off[sure] > (STEPS if device.type == "cuda" else 0)).sum())
        compared += int(sure.sum())
    return {"label": f"weights that differ from the reference, {label}", "n": compared, "error": wrong, "allowed": 0}


def gradients(params: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    generator = torch.Generator(params[0].device).manual_seed(100)
    for _ in range(STEPS):
        yield [torch.randn(p.shape, generator=generator, device=p.device) for p in params]


def reference(p: torch.Tensor, trail: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights, every product and every sum rounded; and where the sign of a mean was always sure."""
    lr, decay = SETTINGS["lr"], SETTINGS["weight_decay"]
    beta1, beta2 = BETAS
    m, sure = torch.zeros_like(p), torch.ones_like(p, dtype=torch.bool)
    for g in trail:
        c = m * beta1 + g * (1 - beta1)
        sure &= c.abs() >= ZONE * (m.abs() + g.abs())
        p = p * (1 - lr * decay) - c.sign() * lr
        m = m * beta2 + g * (1 - beta2)
    return p, sure
