"""Lloyd's steps for many classes and restarts at once."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from selectlib.support._class_blocks import ClassBlock

_NUMBERS = 2**20  # made together while rows are looked at one by one
_TINY = 2.0**-100  # more than what underflows
_EQUAL = 1e-9  # of restarts whose inertias differ relatively by less, the first is kept, however they are rounded


def class_lloyd(
    blocks: list[ClassBlock], starts: list[Int[Tensor, "_ r k"]], max_iter: int, tol: float
) -> Iterator[tuple[Float[Tensor, "c k d"], Int[Tensor, "c n"], Float[Tensor, "c"]]]:
    """The best restart of each class, block by block: centres, NaN where there are no rows, labels, and inertia.

    A restart steps until no label changes or its centres hardly move, and at most `max_iter` times.
    """
    lloyd = _Lloyd(blocks, starts)
    lloyd.run(max_iter, tol)
    yield from lloyd.best()


class _Lloyd:
    """k-means of every class of some blocks from every start.

    A pair is one class from one start, and a column one cluster of a pair; they are numbered block by block. A step
    renews the scores ``|centre|² - 2 centre·x`` of the columns that moved, and changes the sums of the clusters by the
    rows that moved; so what has settled costs nothing. Scores come from products in low precision: a row for which
    their rounding might matter is measured in float64.

    Attributes
    ----------
    centers : Tensor of floats, shape (columns, d)
        In the unit of the blocks' rows.
    counts : Tensor of int64, shape (columns,)
        Rows of each cluster; 1 for columns that are not there.
    """

    def __init__(self, blocks: list[ClassBlock], starts: list[Int[Tensor, "_ r k"]]) -> None:
        rows = blocks[0].together
        _, r, k = starts[0].shape
        self._blocks, self._rows, self._r, self._k, device = blocks, rows, r, k, rows.device
        self._valid = torch.cat([block.valid.flatten() for block in blocks])
        classes = [len(block.classes) for block in blocks]
        sizes = torch.tensor([block.rows.shape[1] for block in blocks], device=device)
        # Of each pair the rows, with padding.
        self._size = sizes.repeat_interleave(torch.tensor(classes, device=device) * r)
        self._last_row = self._size[::r].cumsum(0).repeat_interleave(r)
        self._first_class = torch.tensor([0, *classes]).cumsum(0).tolist()
        self._first_pair = torch.tensor(self._first_class, device=device) * r
        cluster = torch.arange(k, device=device)
        clusters, pinned = (
            torch.cat([getattr(x, name) for x in blocks]).view(-1, 1, 1) for name in ("clusters", "pinned")
        )
        there = self._there = (cluster < clusters).expand(-1, r, -1).flatten()
        self._free = there & (cluster >= pinned).expand(-1, r, -1).flatten()
        first = torch.cat([start.flatten(0, 1) for start in starts]) + (self._last_row - self._size).unsqueeze(1)
        self.centers = rows.index_select(0, first.flatten())
        self._norms = torch.linalg.vector_norm(self.centers, dim=1).square_().masked_fill_(~there, torch.inf)
        products = torch.float32 if torch.get_float32_matmul_precision() == "highest" else torch.float64
        error = (rows.shape[1] + 16) * torch.finfo(products).eps  # of a score, relative to |x|² + |centre|²
        self._light = [block.rows.to(products) for block in blocks]
        # Of the nearest centre and of the one that seems to be, |centre|² is at most 4 |x|² + 2 score. So without
        # rounding, a score above the slack plus `more` times the least is not the least.
        self._slack = [(10 * error * block.squares + _TINY).to(products) for block in blocks]
        self._more = 1 + 4 * error
        self._scores = [x.new_empty(len(x), r * k, x.shape[1]) for x in self._light]
        # A row near centre j alone has the code k + j; two near centres together have a larger one.
        most = k * (2 * k - 1)
        dtype = torch.uint8 if most < 2**8 else torch.int16 if most < 2**15 else torch.int32
        self._weight = torch.arange(k, 2 * k, device=device).to(dtype).unsqueeze(1)
        self._codes = torch.full((int(self._size.sum()),), k, dtype=dtype, device=device)
        parts = self._codes.split([x.where.numel() * r for x in blocks])
        self._code_parts = [part.view(-1, x.where.shape[1]) for part, x in zip(parts, blocks, strict=True)]
        self._update(torch.ones_like(there), first=True)
        self._sums, self.counts = (
            torch.cat(x) for x in zip(*(self._total(b) for b in range(len(blocks))), strict=True)
        )
        self.counts.masked_fill_(~there, 1)

    def run(self, max_iter: int, tol: float) -> None:
        """Step every pair until no label changes or its centres hardly move, and at most `max_iter` times."""
        k = self._k
        variance = [block.spread() / (block.valid.sum(1) * block.rows.shape[2]) for block in self._blocks]
        limit = tol * torch.cat(variance).repeat_interleave(self._r)
        touched = torch.ones_like(self._free)
        running, relocated = torch.ones_like(limit, dtype=torch.bool), torch.zeros_like(limit, dtype=torch.bool)
        for step in range(max_iter + 1):
            running &= touched.view(-1, k).any(1)
            shift, relocated = self._move_centers(touched, running, relocated)
            running &= shift.view(-1, k).sum(1) > limit
            if step + 1 == max_iter:
                running.fill_(False)
            changed = self._update(shift > 0)
            if changed is None:
                break
            touched = self._move_rows(*changed)

    def best(self) -> Iterator[tuple[Float[Tensor, "c k d"], Int[Tensor, "c n"], Float[Tensor, "c"]]]:
        """What the best restart of each class found."""
        half = torch.addcmul(self._sums, self.centers.double(), self.counts.unsqueeze(1), value=-0.5)
        cross = torch.linalg.vecdot(half, self.centers.double()).masked_fill_(~self._there, 0.0)
        spread = torch.cat([block.spread() for block in self._blocks])
        inertia = spread.unsqueeze(1) - 2 * cross.view(-1, self._r, self._k).sum(2)
        first = (inertia <= inertia.amin(1, keepdim=True) * (1 + _EQUAL)).byte().argmax(1)
        pair = torch.arange(len(first), device=first.device) * self._r + first
        used = (self.counts > 0) & self._there
        centers, used = (x.unflatten(0, (-1, self._k))[pair] for x in (self.centers, used))
        for b, block in enumerate(self._blocks):
            own = slice(*self._first_class[b : b + 2])
            center, codes = centers[own], self._code_parts[b]
            cluster = torch.arange(len(block.classes), device=first.device).unsqueeze(1)
            labels = codes[pair[own] - self._first_class[b] * self._r].long() - self._k
            apart = center.flatten(0, 1).index_select(0, (labels + self._k * cluster).flatten()).view_as(block.rows)
            squares = torch.linalg.vector_norm(apart.sub_(block.rows), dim=2).double().square_().mul_(block.valid)
            yield center.masked_fill(~used[own].unsqueeze(2), torch.nan), labels, squares.sum(1)

    def _update(
        self, moved: Bool[Tensor, "columns"], first: bool = False
    ) -> tuple[Int[Tensor, "m"], Int[Tensor, "m"], Int[Tensor, "m"]] | None:
        """Label the rows afresh where centres moved: the rows whose label changed, with their columns now and before.

        None if no centre moved.
        """
        r, k, ends = self._r, self._k, self._first_class
        by_class = moved.view(-1, r * k)
        widths = by_class.sum(1).tolist()
        if not any(widths):
            return None
        columns = by_class.byte().sort(dim=1, descending=True, stable=True).indices
        pairs = moved.view(-1, k).any(1).nonzero().squeeze(1)
        cuts = torch.searchsorted(pairs, self._first_pair).tolist()
        found, old = [], []
        for b, codes in enumerate(self._code_parts):
            start, stop = ends[b : b + 2]
            if cuts[b] < cuts[b + 1]:
                self._score(b, columns[start:stop, : max(widths[start:stop])])
                local = pairs[cuts[b] : cuts[b + 1]] - start * r if cuts[b + 1] - cuts[b] < len(codes) else None
                found.append(self._code(b, local).flatten())
                old.append((codes if local is None else codes.index_select(0, local)).flatten())
        new, before = torch.cat(found), torch.cat(old)
        place = (new >= 2 * k if first else new != before).nonzero().squeeze(1)
        ends_of = self._size[pairs].cumsum(0)  # of each pair, among the codes
        at = torch.searchsorted(ends_of, place, right=True)
        pair = pairs[at]
        back = ends_of[at] - place
        to = new[place].long() - k
        row = self._last_row[pair] - back
        unsure = (to >= k).nonzero().squeeze(1)
        if len(unsure):
            to[unsure] = self._measure(pair[unsure], row[unsure])
        if first:
            new[place] = (to + k).to(new.dtype)
            self._codes.copy_(new)
            return None
        off = before[place].long() - k
        kept = ((to != off) & self._valid[row]).nonzero().squeeze(1)
        pair, row, to, off, back = (x[kept] for x in (pair, row, to, off, back))
        self._codes[self._size.cumsum(0)[pair] - back] = (to + k).to(new.dtype)
        return row, pair * k + to, pair * k + off

    def _score(self, b: int, columns: Int[Tensor, "c w"]) -> None:
        """Score all rows of a block for some columns of each class; for all columns if they are most."""
        (c, w), r_k, light = columns.shape, self._r * self._k, self._light[b]
        own = slice(self._first_class[b] * r_k, self._first_class[b + 1] * r_k)
        centers, norms, scores = self.centers[own], self._norms[own], self._scores[b]
        if 5 * w > 4 * r_k:
            points, norms = centers.to(light.dtype).view(c, r_k, -1), norms.to(light.dtype).view(c, r_k, 1)
            torch.baddbmm(norms, points, light.mT, alpha=-2, out=scores)
            return
        flat = (columns + r_k * torch.arange(c, device=columns.device).unsqueeze(1)).flatten()
        points = centers.index_select(0, flat).to(light.dtype).view(c, w, -1)
        found = torch.baddbmm(norms[flat].to(light.dtype).view(c, w, 1), points, light.mT, alpha=-2)
        scores.flatten(0, 1).index_copy_(0, flat, found.flatten(0, 1))

    def _code(self, b: int, pairs: Int[Tensor, "q"] | None) -> Integer[Tensor, "q n"]:
        """Codes of the centres that are nearest to the rows of a block, or may be, in some pairs or all."""
        r, k, slack = self._r, self._k, self._slack[b].unsqueeze(1)
        n = slack.shape[2]
        scores = self._scores[b].view(-1, k, n)
        if pairs is not None:
            scores, slack = scores.index_select(0, pairs), slack.index_select(0, pairs // r)
        least = scores.amin(1)
        limit = torch.add(slack, least.view(len(slack), -1, n), alpha=self._more)
        near = (scores <= limit.view(-1, 1, n)).view(torch.uint8)
        near = near.mul_(self._weight) if self._weight.dtype == torch.uint8 else near * self._weight
        return near.sum(1, dtype=near.dtype)

    def _measure(self, pair: Int[Tensor, "m"], row: Int[Tensor, "m"]) -> Int[Tensor, "m"]:
        """The nearest centre of some rows in some pairs, in float64; the first of equally near ones."""
        k, d = self._k, self.centers.shape[1]
        centers, there = self.centers.view(-1, k, d), self._there.view(-1, k)
        found = torch.empty_like(row)
        for start in range(0, len(row), step := max(1, _NUMBERS // (k * d))):
            part = slice(start, start + step)
            apart = centers[pair[part]].double().sub_(self._rows[row[part]].unsqueeze(1))
            squares = torch.linalg.vecdot(apart, apart).masked_fill_(~there[pair[part]], torch.inf)
            found[part] = (squares == squares.amin(1, keepdim=True)).byte().argmax(1)
        return found

    def _total(self, b: int) -> tuple[Float[Tensor, "_ d"], Int[Tensor, "_"]]:
        """Sums and counts of the rows of each cluster of a block."""
        block, r, k = self._blocks[b], self._r, self._k
        c, n, _ = block.rows.shape
        share = block.rows.new_zeros(c, r, k, n)
        valid = block.valid.view(c, 1, 1, n).to(share.dtype).expand(c, r, 1, n)
        share.scatter_(2, self._code_parts[b].view(c, r, 1, n).long() - k, valid)
        return (share.view(c, r * k, n) @ block.rows).flatten(0, 1).double(), share.sum(3).long().flatten()

    def _move_rows(self, row: Int[Tensor, "m"], to: Int[Tensor, "m"], off: Int[Tensor, "m"]) -> Bool[Tensor, "columns"]:
        """Move rows from columns to columns; in an order that is the same on every device, so that sums are, too.

        Gives the columns that changed.
        """
        column, place = torch.cat([to, off]).sort(stable=True)
        size = torch.bincount(column, minlength=len(self.counts))
        touched = size > 0
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
        return touched

    def _move_centers(
        self, touched: Bool[Tensor, "columns"], running: Bool[Tensor, "pairs"], relocated: Bool[Tensor, "pairs"]
    ) -> tuple[Float[Tensor, "columns"], Bool[Tensor, "pairs"]]:
        """Move the centres of changed clusters of running pairs to their means.

        Gives the squared shift of each column, and the pairs with empty clusters, of which all centres are renewed, now
        and in the next step.
        """
        lacking = (self._free & (self.counts == 0)).view(-1, self._k).any(1) & running
        chosen = touched.view(-1, self._k) | (lacking | relocated).unsqueeze(1)
        columns = ((chosen & running.unsqueeze(1)).flatten() & self._free).nonzero().squeeze(1)
        share = self.counts[columns].clamp_(min=1).double().reciprocal_().unsqueeze(1)
        new = self._sums.index_select(0, columns).mul_(share).to(self.centers.dtype)
        pairs = lacking.nonzero().squeeze(1)
        if len(pairs):
            self._relocate(pairs, columns, new)
        change = torch.linalg.vector_norm(self.centers.index_select(0, columns).sub_(new), dim=1)
        self.centers.index_copy_(0, columns, new)
        self._norms.index_copy_(0, columns, torch.linalg.vector_norm(new, dim=1).square_())
        shift = torch.zeros(len(touched), dtype=torch.float64, device=columns.device)
        return shift.index_copy_(0, columns, change.double().square_()), lacking

    def _relocate(self, lacking: Int[Tensor, "q"], columns: Int[Tensor, "m"], new: Float[Tensor, "m d"]) -> None:
        """Write the means of these pairs over, as they are when empty clusters have been given a row each."""
        cluster = torch.arange(self._k, device=columns.device)
        cuts = torch.searchsorted(lacking, self._first_pair).tolist()
        for b, block in enumerate(self._blocks):
            pairs = lacking[cuts[b] : cuts[b + 1]]
            for some in pairs.split(max(1, _NUMBERS // block.rows[0].numel())) if len(pairs) else ():
                own = (some.unsqueeze(1) * self._k + cluster).flatten()
                centers, sums, counts, free = (
                    x.index_select(0, own).unflatten(0, (len(some), self._k))
                    for x in (self.centers, self._sums, self.counts, self._free)
                )
                local = some - self._first_class[b] * self._r
                rows, valid = block.rows[local // self._r], block.valid[local // self._r]
                labels = self._code_parts[b][local].long() - self._k
                means = _served(rows.double(), valid, labels, centers.double(), sums, counts, free)
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
