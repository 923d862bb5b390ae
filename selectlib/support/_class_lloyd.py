"""Lloyd's steps for many classes and restarts at once."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from selectlib.support._class_blocks import ClassBlock
from selectlib.support._class_scores import ClassScores

_NUMBERS = 2**22  # made together while empty clusters are served


class ClassLloyd:
    """k-means of every class of some blocks from every start.

    A pair is one class from one start, and a column one cluster of a pair; they are numbered block by block. A step
    renews the scores of the columns that moved, and changes the sums of the clusters by the rows that moved; so what
    has settled costs nothing.

    Attributes
    ----------
    centers : Tensor of floats, shape (columns, d)
        In the unit of the blocks' rows.
    counts : Tensor of int64, shape (columns,)
        Rows of each cluster; 1 for columns that are not there.
    """

    def __init__(
        self, blocks: list[ClassBlock], starts: list[Int[Tensor, "_ r k"]], scores: list[Float[Tensor, "_ r k _"]]
    ) -> None:
        _, self._r, self._k = starts[0].shape
        self._rows = torch.cat([block.rows.flatten(0, 1) for block in blocks])
        self._valid = torch.cat([block.valid.flatten() for block in blocks])
        self._scores, self._first_row, self._first_class, row = [], [], [0], 0
        first = []
        for block, start, score in zip(blocks, starts, scores, strict=True):
            c, n, _ = block.rows.shape
            block.rows = self._rows[row : row + c * n].view(c, n, -1)
            offset = row + n * torch.arange(c, device=start.device)
            first.append((offset.view(c, 1, 1) + start).flatten())
            self._scores.append(ClassScores(block, score))
            self._first_row.append(row)
            self._first_class.append(self._first_class[-1] + c)
            row += c * n
        cluster = torch.arange(self._k, device=self._rows.device)
        clusters, pinned = (
            torch.cat([getattr(block, name) for block in blocks]).view(-1, 1, 1) for name in ("clusters", "pinned")
        )
        there = self._there = (cluster < clusters).expand(-1, self._r, -1).flatten()
        self._free = self._there & (cluster >= pinned).expand(-1, self._r, -1).flatten()
        self._first_pair = torch.tensor(self._first_class, device=cluster.device) * self._r
        size = [x for block in blocks for x in [block.rows.shape[1]] * (len(block.classes) * self._r)]
        self._size = torch.tensor(size, device=cluster.device)
        by_class = self._size[:: self._r]
        self._last_row = by_class.cumsum(0).repeat_interleave(self._r)
        self.centers = self._rows.index_select(0, torch.cat(first))
        self._norms = torch.linalg.vecdot(self.centers, self.centers).masked_fill_(~there, torch.inf)
        sums, counts = zip(*(scores.clusters() for scores in self._scores), strict=True)
        self._sums, self.counts = torch.cat(sums).double(), torch.cat(counts).masked_fill_(~self._there, 1)

    def run(self, max_iter: int, tol: float) -> None:
        """Step every pair until no label changes or its centres hardly move, and at most `max_iter` times."""
        k, blocks = self._k, [scores.block for scores in self._scores]
        variance = [block.spread() / (block.valid.sum(1) * block.rows.shape[2]) for block in blocks]
        limit = tol * torch.cat(variance).repeat_interleave(self._r)
        touched = torch.ones_like(self._free)
        running, relocated = torch.ones_like(limit, dtype=torch.bool), torch.zeros_like(limit, dtype=torch.bool)
        for step in range(max_iter + 1):
            running &= touched.view(-1, k).any(1)
            shift, relocated = self._move_centers(touched, running, relocated)
            running &= shift.view(-1, k).sum(1) > limit
            if step + 1 == max_iter:
                running.fill_(False)
            if not self._update(shift > 0, touched):
                break

    def labels(self, pair: Int[Tensor, "c"]) -> list[Int[Tensor, "_ _"]]:
        """The labels of one pair of each class, block by block."""
        ends = self._first_class
        return [
            scores.labels[pair[start:stop] - start * self._r].long()
            for scores, start, stop in zip(self._scores, ends, ends[1:], strict=False)
        ]

    def inertia(self) -> Float[Tensor, "c r"]:
        """Sums of the squared distances from the centres."""
        centers = self.centers.double()
        cross = torch.linalg.vecdot(centers, centers * self.counts.unsqueeze(1) - 2 * self._sums)
        cross = cross.masked_fill_(~self._there, 0.0)
        spread = torch.cat([scores.block.spread() for scores in self._scores])
        return cross.view(-1, self._r, self._k).sum(2) + spread.unsqueeze(1)

    def _update(self, moved: Bool[Tensor, "columns"], touched: Bool[Tensor, "columns"]) -> bool:
        """Label the rows afresh where centres moved; whether there were any, and in `touched` the clusters changed."""
        touched.fill_(False)
        r, k, ends = self._r, self._k, self._first_class
        by_class = moved.view(-1, r * k)
        widths = by_class.sum(1).tolist()
        if not any(widths):
            return False
        columns = by_class.byte().sort(dim=1, descending=True, stable=True).indices
        pairs = moved.view(-1, k).any(1).nonzero().squeeze(1)
        cuts = torch.searchsorted(pairs, self._first_pair).tolist()
        labels, old = [], []
        for b, scores in enumerate(self._scores):
            start, stop = ends[b : b + 2]
            if cuts[b] < cuts[b + 1]:
                own, width = slice(start * r * k, stop * r * k), max(widths[start:stop])
                local = pairs[cuts[b] : cuts[b + 1]] - start * r
                new = scores.renew(columns[start:stop, :width], self.centers[own], self._norms[own], local)
                labels.append(new[0].flatten())
                old.append(new[1].flatten())
        to, off = torch.cat(labels), torch.cat(old)
        place = (to != off).nonzero().squeeze(1)
        ends_of = self._size[pairs].cumsum(0)  # of each pair, among the labels
        at = torch.searchsorted(ends_of, place, right=True)
        pair = pairs[at]
        row = place - ends_of[at] + self._last_row[pair]
        valid = self._valid[row].nonzero().squeeze(1)
        row, column, place = row[valid], pair[valid] * k, place[valid]
        self._move_rows(row, column + to[place], column + off[place], touched)
        return True

    def _move_rows(
        self, row: Int[Tensor, "m"], to: Int[Tensor, "m"], off: Int[Tensor, "m"], touched: Bool[Tensor, "columns"]
    ) -> None:
        """Move rows from columns to columns; in an order that is the same on every device, so that sums are, too."""
        column, place = torch.cat([to, off]).sort(stable=True)
        size = torch.bincount(column, minlength=len(touched))
        torch.gt(size, 0, out=touched)
        bags = touched.nonzero().squeeze(1)
        sign = torch.where(place < len(to), 1.0, -1.0).to(self._rows.dtype)
        change = F.embedding_bag(
            torch.cat([row, row])[place],
            self._rows,
            (size.cumsum(0) - size)[bags],
            mode="sum",
            per_sample_weights=sign,
        )
        self._sums.index_add_(0, bags, change.double())
        self.counts += size - 2 * torch.bincount(off, minlength=len(size))

    def _move_centers(
        self, touched: Bool[Tensor, "columns"], running: Bool[Tensor, "pairs"], relocated: Bool[Tensor, "pairs"]
    ) -> tuple[Float[Tensor, "columns"], Bool[Tensor, "pairs"]]:
        """Move the centres of changed clusters of running pairs to their means.

        Gives the squared shift of each column, and the pairs with empty clusters, of which all centres are renewed, now
        and in the next step.
        """
        k = self._k
        chosen = touched.view(-1, k)
        lacking = torch.zeros_like(running)
        if bool((self.counts == 0).any()):
            lacking = (self._free & (self.counts == 0)).view(-1, k).any(1) & running
            chosen = chosen | (lacking | relocated).unsqueeze(1)
        elif bool(relocated.any()):
            chosen = chosen | relocated.unsqueeze(1)
        columns = ((chosen & running.unsqueeze(1)).flatten() & self._free).nonzero().squeeze(1)
        new = self._sums.index_select(0, columns).div_(self.counts[columns].clamp_(min=1).unsqueeze(1))
        new = new.to(self.centers.dtype)
        if bool(lacking.any()):
            self._relocate(lacking, columns, new)
        change = torch.linalg.vector_norm(new - self.centers.index_select(0, columns), dim=1)
        self.centers.index_copy_(0, columns, new)
        self._norms.index_copy_(0, columns, torch.linalg.vecdot(new, new))
        shift = torch.zeros(len(touched), dtype=torch.float64, device=columns.device)
        return shift.index_copy_(0, columns, change.double().square_()), lacking

    def _relocate(self, lacking: Bool[Tensor, "pairs"], columns: Int[Tensor, "m"], new: Float[Tensor, "m d"]) -> None:
        """Write the means of these pairs over, as they are when empty clusters have been given a row each."""
        cluster = torch.arange(self._k, device=columns.device)
        for b, scores in enumerate(self._scores):
            start, stop = (end * self._r for end in self._first_class[b : b + 2])
            pairs = lacking[start:stop].nonzero().squeeze(1)
            step = max(1, _NUMBERS // scores.block.rows[0].numel())
            for some in pairs.split(step) if len(pairs) else ():
                own = ((some + start).unsqueeze(1) * self._k + cluster).flatten()
                centers, sums, counts, free = (
                    x.index_select(0, own).unflatten(0, (len(some), self._k))
                    for x in (self.centers, self._sums, self.counts, self._free)
                )
                rows, valid = scores.block.rows[some // self._r], scores.block.valid[some // self._r]
                means = _served(rows.double(), valid, scores.labels[some].long(), centers.double(), sums, counts, free)
                kept = free.flatten()
                new[torch.searchsorted(columns, own[kept])] = means.flatten(0, 1)[kept].to(new.dtype)


def _served(
    rows: Float[Tensor, "q n d"],
    valid: Bool[Tensor, "q n"],
    labels: Int[Tensor, "q n"],
    centers: Float[Tensor, "q k d"],
    sums: Float[Tensor, "q k d"],
    counts: Int[Tensor, "q k"],
    free: Bool[Tensor, "q k"],
) -> Float[Tensor, "q k d"]:
    """The means when each empty cluster was given one of the rows farthest from their centres; labels follow later."""
    empty = (counts == 0) & free
    own = centers.gather(1, labels.unsqueeze(2).expand_as(rows))
    distances = torch.linalg.vector_norm(rows - own, dim=2).masked_fill_(~valid, -1.0)
    far = distances.sort(dim=1, descending=True, stable=True)
    rank = (empty.cumsum(1) - 1).clamp_min_(0)
    empty &= far.values.gather(1, rank) > 0
    taken = far.indices.gather(1, rank)
    moved = rows.gather(1, taken.unsqueeze(2).expand_as(sums)) * empty.unsqueeze(2)
    off = F.one_hot(labels.gather(1, taken), counts.shape[1]) * empty.unsqueeze(2)  # (q, empty cluster, donor)
    sums = torch.where(empty.unsqueeze(2), moved, sums - off.mT.double() @ moved)
    counts = torch.where(empty, 1, counts - off.sum(1))
    means = sums / counts.clamp_min(1).unsqueeze(2)
    heaviest = means.gather(1, counts.argmax(1).view(-1, 1, 1).expand(-1, 1, means.shape[2]))
    return torch.where((counts == 0).unsqueeze(2), heaviest, means)
