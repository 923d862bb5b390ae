"""Exact k-DPP samples of a hundred million items, which are made when the sampler asks for them.

    python workflow/scale_out/kdpp_hundred_million.py
    python workflow/scale_out/kdpp_hundred_million.py --quick

Features of all items would take 3.2 GB; the sampler fetches some ten thousands of items. Prints one line of JSON;
`--record` keeps it for the book.
"""

import argparse

import torch
from measured import Stopwatch, peak_mb, report

from selectlib.seeding import generator
from selectlib.subsets import KDPP, RBF, as_source

K, SAMPLES, SEED = 10, 50, 101
STEPS = torch.tensor([0.8566748838545029, 0.733891856627126, 0.6287067210378087, 0.5385972572236101]).double()


def features(idx: torch.Tensor) -> torch.Tensor:
    """Four numbers of each item asked for, spread over the unit cube: what you replace by a reader of your own."""
    return ((idx[:, None].double() + 0.5) * STEPS).frac()


def closest(sets: torch.Tensor) -> float:
    """The mean distance between the two nearest items of a set."""
    points = features(sets.flatten()).view(*sets.shape, len(STEPS))
    apart = torch.cdist(points, points) + torch.diag(torch.full((sets.shape[1],), torch.inf)).nan_to_num(0)
    return float(apart.flatten(1).min(1).values.mean())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--items", type=int, default=10**8)
    arguments.add_argument("--quick", action="store_true", help="a million items")
    arguments.add_argument("--record", action="store_true", help="keep the result in book/scale_out")
    given = arguments.parse_args()
    items = 10**6 if given.quick else given.items
    torch.set_num_threads(1)
    start_mb = peak_mb()
    watch = Stopwatch()
    sampler = KDPP(as_source(features, n=items), RBF(gamma=1.0), K, method="direct", generator=generator(SEED)).fit()
    fitted = watch.read()
    sets = sampler.sample(SAMPLES)
    found = watch.read()
    account = sampler.report()
    uniform = torch.randint(items, (2_000, K), generator=generator(SEED + 1))
    found |= {
        "items": items,
        "k": K,
        "samples": SAMPLES,
        "fit_seconds": fitted["seconds"],
        "looks": account.looks,
        "fraction_looked": account.fraction_looked,
        "proposals": account.proposals,
        "accepted": account.accepted,
        "nearest_pair": round(closest(sets), 4),
        "nearest_pair_uniform": round(closest(uniform), 4),
        "start_mb": round(start_mb, 1),
        "peak_mb": round(peak_mb(), 1),
        "result": f"{account.looks:,} items looked at, 1 in {round(items / account.looks):,}; "
        f"the nearest two of a set lie {closest(sets):.2f} apart, {closest(uniform):.2f} in random sets",
    }
    report("kdpp_hundred_million", found, record=given.record)


if __name__ == "__main__":
    main()
