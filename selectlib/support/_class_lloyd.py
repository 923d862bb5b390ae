"""Lloyd's steps for many classes and restarts at once."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib.support._class_blocks import ClassBlock

_NUMBERS = 2**22  # made together while empty clusters are served


class ClassLloyd:
    """k-means of every class of a block from every start.

    A pair is one class from one start, and a column is one cluster of a pair: c·r pairs of k columns. The scores of all
    rows for all columns are kept, and a step renews those of the columns that moved; the sums of the clusters change by
    the rows that moved. So what has settled costs nothing.

    Attributes
    ----------
    centers : Tensor of float64, shape (c·r·k, d)
        In the unit of the block's rows.
    labels : Tensor of int64, shape (c·r, n)
        The nearest centre of each row, the first of equally near ones.
    counts : Tensor of int64, shape (c·r·k,)
        Rows of each cluster.
    """

    def __init__(self, block: ClassBlock, starts: Int[Tensor, "c r k"], scores: Float[Tensor, "c r k n"]) -> None:
        c, r, k, n = scores.shape
        self._block, self._shape = block, (c, r, k, n)
        self._class = torch.arange(c, device=scores.device).repeat_interleave(r)  # of each pair
        cluster = torch.arange(k, device=scores.device)
        there = cluster < block.clusters.unsqueeze(1)
        self._there = there[self._class].flatten()
        self._free = (there & (cluster >= block.pinned.unsqueeze(1)))[self._class].flatten()
        self._scores = scores.masked_fill_(~there.view(c, 1, k, 1), torch.inf).view(c * r * k, n)
        self._rows = block.rows.flatten(0, 1)
        first = self._class.view(c, r, 1) * n + starts
        self.centers = self._rows.index_select(0, first.flatten()).double()
        self.labels = block.where.new_empty(0)
        self.counts = block.where.new_zeros(c * r * k)
        self._sums = torch.zeros_like(self.centers)

    def run(self, max_iter: int, tol: float) -> None:
        """Step every pair until no label changes or its centres hardly move, and at most `max_iter` times."""
        c, r, k, _ = self._shape
        block = self._block
        limit = tol * block.squares.double().sum(1) / (block.valid.sum(1) * block.rows.shape[2])
        limit = limit.repeat_interleave(r)
        pairs = torch.arange(c * r, device=limit.device)
        running = torch.ones_like(pairs, dtype=torch.bool)
        relocated = torch.zeros_like(running)
        for step in range(max_iter + 1):
            touched = self._gather_clusters() if step == 0 else self._reassign(pairs)
            going = touched.any(1) & running
            if not going.any():
                break
            columns = ((touched | relocated.unsqueeze(1)) & going.unsqueeze(1)).flatten() & self._free
            shift, relocated = self._move_centers(columns, going)
            running = going & (shift.view(-1, k).sum(1) > limit) & (step + 1 < max_iter)
            self._renew_scores(shift > 0)
            pairs = (shift.view(-1, k) > 0).any(1).nonzero().squeeze(1)

    def inertia(self) -> Float[Tensor, "c r"]:
        """Sums of the squared distances from the centres."""
        c, r, k, _ = self._shape
        cross = torch.linalg.vecdot(self.centers, self.centers * self.counts.unsqueeze(1) - 2 * self._sums)
        return cross.view(c, r, k).sum(2) + self._block.squares.double().sum(1, keepdim=True)

    def _gather_clusters(self) -> Bool[Tensor, "p k"]:
        """Give each row its nearest centre for the first time, and make sums and counts; every column is touched."""
        c, r, k, n = self._shape
        self.labels = _first_of_the_least(self._scores.view(c * r, k, n))
        share = self._scores.new_zeros(c, r, k, n)
        valid = self._block.valid.view(c, 1, 1, n).to(share.dtype).expand(c, r, 1, n)
        share.scatter_(2, self.labels.view(c, r, 1, n).long(), valid)
        self._sums = (share.view(c, r * k, n) @ self._block.rows).flatten(0, 1).double()
        self.counts = share.sum(3).long().flatten()
        return torch.ones(c * r, k, dtype=torch.bool, device=share.device)

    def _reassign(self, pairs: Int[Tensor, "q"]) -> Bool[Tensor, "p k"]:
        """Give each row of these pairs its nearest centre, and keep sums and counts in step; which columns changed."""
        c, r, k, n = self._shape
        scores = self._scores.view(c * r, k, n)
        labels = _first_of_the_least(scores if len(pairs) == c * r else scores.index_select(0, pairs))
        old = self.labels.index_select(0, pairs)
        moved = (labels != old).logical_and_(self._block.valid.index_select(0, self._class[pairs]))
        self.labels.index_copy_(0, pairs, labels)
        at, row = moved.nonzero(as_tuple=True)
        pair = pairs[at]
        to, off = pair * k + labels[at, row], pair * k + old[at, row]  # columns
        row = self._class[pair] * n + row
        # Sorted by column and summed bag by bag, so that the order of the sums is the same on every device.
        column, place = torch.cat([to, off]).sort(stable=True)
        sign = torch.ones(len(place), dtype=scores.dtype, device=place.device)
        sign[len(to) :] = -1
        size = torch.bincount(column, minlength=len(self.counts))
        bags = size.nonzero().squeeze(1)
        offsets = (size.cumsum(0) - size)[bags]
        row, sign = torch.cat([row, row])[place], sign[place]
        change = F.embedding_bag(row, self._rows, offsets, mode="sum", per_sample_weights=sign)
        self._sums.index_add_(0, bags, change.double())
        self.counts += torch.bincount(to, minlength=len(size)) - torch.bincount(off, minlength=len(size))
        return (size > 0).view(c * r, k)

    def _move_centers(
        self, chosen: Bool[Tensor, "p*k"], going: Bool[Tensor, "p"]
    ) -> tuple[Float[Tensor, "p*k"], Bool[Tensor, "p"]]:
        """Move the chosen columns to the means of their clusters: squared shifts, and the pairs with empty clusters."""
        k = self._shape[2]
        lacking = (self._free & (self.counts == 0)).view(-1, k).any(1) & going
        served = lacking.nonzero().squeeze(1)
        if len(served):
            chosen = chosen | (lacking.unsqueeze(1).expand(-1, k).flatten() & self._free)
        columns = chosen.nonzero().squeeze(1)
        new = self._sums.index_select(0, columns).div_(self.counts[columns].clamp_(min=1).unsqueeze(1))
        for some in served.split(max(1, _NUMBERS // self._rows.shape[1] // self._shape[3])) if len(served) else ():
            own = (some.unsqueeze(1) * k + torch.arange(k, device=some.device)).flatten()
            kept = self._free[own]
            new[torch.searchsorted(columns, own[kept])] = self._relocate(some).flatten(0, 1)[kept]
        shift = torch.zeros(len(self.counts), dtype=torch.float64, device=columns.device)
        shift[columns] = (new - self.centers.index_select(0, columns)).square_().sum(1)
        self.centers.index_copy_(0, columns, new)
        return shift, lacking

    def _relocate(self, pairs: Int[Tensor, "q"]) -> Float[Tensor, "q k d"]:
        """Means after each empty cluster was given one of the rows farthest from their centres; labels follow later."""
        k = self._shape[2]
        rows, labels = self._block.rows[self._class[pairs]].double(), self.labels[pairs].long()
        centers, sums, counts = (x.unflatten(0, (-1, k))[pairs] for x in (self.centers, self._sums, self.counts))
        empty = (counts == 0) & self._free.view(-1, k)[pairs]
        own = centers.gather(1, labels.unsqueeze(2).expand_as(rows))
        distances = (rows - own).square_().sum(2).masked_fill_(~self._block.valid[self._class[pairs]], -1.0)
        far = distances.sort(dim=1, descending=True, stable=True)
        rank = (empty.cumsum(1) - 1).clamp_min_(0)
        empty &= far.values.gather(1, rank) > 0
        taken = far.indices.gather(1, rank)
        moved = rows.gather(1, taken.unsqueeze(2).expand_as(sums)) * empty.unsqueeze(2)
        off = F.one_hot(labels.gather(1, taken), k) * empty.unsqueeze(2)  # (q, empty cluster, donor)
        sums = torch.where(empty.unsqueeze(2), moved, sums - off.mT.double() @ moved)
        counts = torch.where(empty, 1, counts - off.sum(1))
        means = sums / counts.clamp_min(1).unsqueeze(2)
        heaviest = means[torch.arange(len(pairs), device=pairs.device), counts.argmax(1)].unsqueeze(1)
        return torch.where((counts == 0).unsqueeze(2), heaviest, means)

    def _renew_scores(self, moved: Bool[Tensor, "p*k"]) -> None:
        """Score all rows for the columns that moved: one product over all classes, as wide as the most there are."""
        c = self._shape[0]
        moved = moved.view(c, -1)
        width = int(moved.sum(1).max())
        if not width:
            return
        columns = moved.byte().sort(dim=1, descending=True, stable=True).indices[:, :width]
        columns = (columns + torch.arange(c, device=columns.device).unsqueeze(1) * moved.shape[1]).flatten()
        points = self.centers.index_select(0, columns).view(c, width, -1)
        norms = points.square().sum(2, keepdim=True).to(self._scores.dtype)
        norms.masked_fill_(~self._there[columns].view_as(norms), torch.inf)
        found = torch.baddbmm(norms, points.to(self._scores.dtype), self._block.rows.mT, alpha=-2).flatten(0, 1)
        self._scores.index_copy_(0, columns, found)


def _first_of_the_least(scores: Float[Tensor, "q k n"]) -> Int[Tensor, "q n"]:
    """The first of the smallest numbers along k, in few bits; many times as fast as `argmin` on CPU."""
    k = scores.shape[1]
    dtype = torch.uint8 if k < 2**8 else torch.int32
    rank = torch.arange(k, 0, -1, dtype=dtype, device=scores.device).unsqueeze(1)
    return k - (scores == scores.amin(1, keepdim=True)).to(dtype).mul_(rank).amax(1)
