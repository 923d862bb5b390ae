"""How far a model sees the target from the source, before any label is paid for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from selectlib._checks import check_generator, check_int
from selectlib.pool import Pool
from selectlib.queries._checks import check_logits
from selectlib.queries._energies import free_energy
from selectlib.queries._scores import Entropy, FreeEnergy, LeastConfidence, Margin
from selectlib.seeding import uniform_indices
from selectlib.stats import Interval, proportion_interval

Statistic = Callable[[Tensor, Tensor], Tensor]  # of weights, shapes (r, n) and (r, m): one value a row

_BLOCK = 2**22  # weights of images, over resamples, at once
_AGREEMENT = 0.4  # below it two models are nearly hopeless on the target
_LEVEL = 0.95


@dataclass(frozen=True)
class ShiftReport:
    """How far a model sees the target from the source; made by `shift_report`.

    Parameters
    ----------
    auroc
        Probability that a target image has a higher free energy than a source image: 0.5 for no shift, 1 for domains
        that do not touch.
    overlap
        Overlap of the histograms of the free energies, in [0, 1]; mean over random halves of either domain.
    overlap_control
        The same between two halves of the source, of the sizes of `overlap`: it is what the overlap is without a
        shift, and below 1.
    gap
        Mean free energy of the target less that of the source, in standard deviations of the source.
    gap_centred
        The same with each image's mean logit taken out of its logits first.
    auroc_by_score
        The area for "free energy", "largest logit", "largest probability", "entropy" and "margin", each with the sign
        that makes the target higher.
    agreement
        Share of target images to which the other model gives the same class; None without another model. For models
        from different starts it is close to the accuracy of either.
    warnings
        What speaks against paying for labels by free energy here, in sentences; empty where nothing was found.
    """

    auroc: Interval
    overlap: Interval
    overlap_control: Interval
    gap: Interval
    gap_centred: Interval
    auroc_by_score: Mapping[str, Interval]
    agreement: Interval | None
    warnings: tuple[str, ...]


def shift_report(
    logits_source: Float[Tensor, "n c"],
    logits_target: Float[Tensor, "m c"],
    *,
    generator: torch.Generator,
    T: float = 1.0,
    bins: int = 40,
    resamples: int = 999,
    logits_target_other: Float[Tensor, "m c"] | None = None,
) -> ShiftReport:
    """Measure from a model's logits, with no label, how far the target is from the source.

    Parameters
    ----------
    logits_source : Tensor of floats, shape (n, c)
        Of source images that the model was not trained on, at least 4; c at least 2.
    logits_target : Tensor of floats, shape (m, c)
        Of target images, at least 4.
    generator : torch.Generator
        Source of the resamples.
    T : float, default 1.0
        Temperature of the free energy.
    bins : int, default 40
        Bins of the histograms, of equal width from the lowest to the highest free energy of both domains.
    resamples : int, default 999
        How many.
    logits_target_other : Tensor of floats, shape (m, c), optional
        Of the same target images, by a model trained in the same way from another start. One that shares its start
        agrees more often, and tells little.

    Returns
    -------
    ShiftReport
        With intervals of level 0.95. Those of areas and gaps are bootstrap percentiles, images being resampled in each
        domain by itself; those of the overlaps are percentiles over random halves, which spread as much as that.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes do not fit, there are fewer than 4 images or 2 classes, a logit is not finite, or `bins` or
        `resamples` is below 1.

    Notes
    -----
    Time O(resamples (n + m) bins), memory O((n + m) (c + bins)) and a block of resamples. The overlap of two samples
    depends on their sizes and on the bins, so that it says something beside its control only. Two models that agree on
    a share a of the images are right on (1 + a) / 2 of them at most, on average; that a itself is close to their
    accuracy is an observation (Jiang et al., "Assessing generalization of SGD via disagreement", ICLR 2022; Baek et
    al., "Agreement-on-the-line", NeurIPS 2022).

    Examples
    --------
    >>> from selectlib.seeding import generator
    >>> draws = generator(100)
    >>> source, target = 4 * torch.randn(200, 5, generator=draws), 2 * torch.randn(300, 5, generator=draws)
    >>> report = shift_report(source, target, generator=draws, resamples=199)
    >>> 0.7 < report.auroc.low < report.auroc.value < 0.9
    True
    >>> report.overlap.value < report.overlap_control.low
    True
    """
    check_generator(generator)
    check_int("bins", bins, 1)
    check_int("resamples", resamples, 1)
    source, target = _checked("logits_source", logits_source), _checked("logits_target", logits_target)
    if source.shape[1] != target.shape[1]:
        counts = f"{source.shape[1]} and {target.shape[1]}"
        raise ValueError(f"logits_source and logits_target must have the same classes, got {counts}")
    scores = _scores(source, T), _scores(target, T)
    energies = scores[0]["free energy"], scores[1]["free energy"]
    statistics = {name: _area(score, scores[1][name]) for name, score in scores[0].items()}
    statistics["gap"] = _gap(*energies)
    statistics["gap centred"] = _gap(free_energy(source, T=T, center=True), free_energy(target, T=T, center=True))
    found = _bootstrap(statistics, len(source), len(target), resamples, generator, source.device)
    overlap, control = _overlaps(*energies, bins, resamples, generator)
    agreement = None
    if logits_target_other is not None:
        other = _checked("logits_target_other", logits_target_other)
        if other.shape != target.shape:
            shapes = f"{tuple(target.shape)}, got {tuple(other.shape)}"
            raise ValueError(f"logits_target_other must have the shape of logits_target, {shapes}")
        agreement = proportion_interval(int((other.argmax(1) == target.argmax(1)).sum()), len(target), level=_LEVEL)
    return ShiftReport(
        auroc=found["free energy"],
        overlap=overlap,
        overlap_control=control,
        gap=found.pop("gap"),
        gap_centred=found.pop("gap centred"),
        auroc_by_score=found,
        agreement=agreement,
        warnings=_warnings(found["free energy"], agreement),
    )


def _scores(logits: Tensor, T: float) -> dict[str, Tensor]:
    """What may tell the domains apart, each higher where a sample looks less like the source."""
    pool = Pool(logits, logits=logits)
    return {
        "free energy": FreeEnergy(T).scores(pool),
        "largest logit": -logits.amax(1),
        "largest probability": LeastConfidence().scores(pool),
        "entropy": Entropy().scores(pool),
        "margin": Margin().scores(pool),
    }


def _area(source: Tensor, target: Tensor) -> Statistic:
    """Area under the ROC curve, for every row of weights; ties count half."""
    ascending, order = source.sort()
    low, high = (torch.searchsorted(ascending, target, right=right) for right in (False, True))

    def area(of_source: Tensor, of_target: Tensor) -> Tensor:
        below = torch.nn.functional.pad(of_source[:, order].cumsum(1), (1, 0))
        wins = (below[:, low] + below[:, high]) / 2
        return (wins * of_target).sum(1) / (below[:, -1] * of_target.sum(1))

    return area


def _gap(source: Tensor, target: Tensor) -> Statistic:
    """Difference of the means over the source's standard deviation, for every row of weights."""
    x, y = source - source.mean(), target - source.mean()  # near 0, so that the squares lose nothing

    def gap(of_source: Tensor, of_target: Tensor) -> Tensor:
        n = of_source.sum(1)
        mean = of_source @ x / n
        variance = (of_source @ x.square() - n * mean.square()) / (n - 1)
        return (of_target @ y / of_target.sum(1) - mean) / variance.sqrt()

    return gap


def _bootstrap(
    statistics: dict[str, Statistic],
    n: int,
    m: int,
    resamples: int,
    generator: torch.Generator,
    device: torch.device,
) -> dict[str, Interval]:
    """Every statistic with its percentile interval, on the same resamples of the images of either domain."""
    draws: dict[str, list[Tensor]] = {name: [] for name in statistics}
    for rows in _blocks(resamples, n + m):
        drawn = [uniform_indices(size, rows * size, generator=generator).view(rows, size) for size in (n, m)]
        weights = [_counts(indices.to(device), indices.shape[1]) for indices in drawn]
        for name, statistic in statistics.items():
            draws[name].append(statistic(*weights))
    once = torch.ones(1, n, device=device), torch.ones(1, m, device=device)
    return {
        name: _interval(float(statistic(*once)), torch.cat(draws[name]), n + m)
        for name, statistic in statistics.items()
    }


def _overlaps(
    source: Tensor, target: Tensor, bins: int, resamples: int, generator: torch.Generator
) -> tuple[Interval, Interval]:
    """Overlap of half the source with as many target images, and with the source's other half."""
    n, m = len(source), len(target)
    half = min(n // 2, m // 2)
    low, high = torch.aminmax(torch.cat([source, target]))
    width = ((high - low) / bins).clamp(min=torch.finfo(low.dtype).tiny)
    in_bin = [
        torch.nn.functional.one_hot(((x - low) / width).long().clamp(max=bins - 1), bins).float()
        for x in (source, target)
    ]
    overlaps, controls = [], []
    for rows in _blocks(resamples, n + m):
        of_source, of_target = (
            torch.rand(rows, size, generator=generator, device=generator.device).argsort(1).to(source.device)
            for size in (n, m)
        )
        first = _counts(of_source[:, :half], n) @ in_bin[0]
        second = _counts(of_source[:, half : 2 * half], n) @ in_bin[0]
        other = _counts(of_target[:, :half], m) @ in_bin[1]
        overlaps.append(torch.minimum(first, other).sum(1) / half)
        controls.append(torch.minimum(first, second).sum(1) / half)
    found = torch.cat(overlaps), torch.cat(controls)
    return _interval(float(found[0].mean()), found[0], n + m), _interval(float(found[1].mean()), found[1], n)


def _counts(indices: Tensor, size: int) -> Tensor:
    """How often each index below `size` occurs in a row."""
    counts = torch.zeros(len(indices), size, device=indices.device)
    return counts.scatter_add_(1, indices, torch.ones_like(indices, dtype=counts.dtype))


def _blocks(resamples: int, images: int) -> Iterator[int]:
    """Sizes of blocks of resamples that bound the memory."""
    most = max(1, _BLOCK // images)
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def _interval(value: float, draws: Tensor, n: int) -> Interval:
    """The percentiles of the draws, widened where they would miss the value."""
    low, high = torch.quantile(draws, torch.tensor([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], device=draws.device)).tolist()
    return Interval(value, min(low, value), max(high, value), n, _LEVEL)


def _warnings(auroc: Interval, agreement: Interval | None) -> tuple[str, ...]:
    """What speaks against paying for labels by free energy."""
    found = []
    if auroc.low <= 0.5:
        found.append(
            "free energy does not tell the target from the source: its area under the ROC curve is "
            f"{auroc.value:.2f} [{auroc.low:.2f}, {auroc.high:.2f}], and to filter the pool by it is to filter blindly"
        )
    if agreement is not None and agreement.value < _AGREEMENT:
        found.append(
            f"two models agree on {agreement.value:.0%} of the target, and are likely to be right on as few: random or "
            "core-set queries lean less on predictions, and a heavy alignment would confirm wrong ones"
        )
    return tuple(found)


def _checked(name: str, logits: Tensor) -> Tensor:
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        given = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"{name} must be a tensor of floats, got {given}")
    if logits.ndim != 2 or len(logits) < 4 or logits.shape[1] < 2:
        raise ValueError(f"{name} must have shape (images, classes), at least (4, 2), got {tuple(logits.shape)}")
    if not bool(logits.isfinite().all()):
        raise ValueError(f"{name} must be finite")
    return check_logits(logits.detach())
