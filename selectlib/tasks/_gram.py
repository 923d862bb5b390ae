"""The nearest-centroid head from the similarities of any two items, which many tasks share."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

_EPS = 1e-12  # shorter features count as so long, as in the dense head


class EpisodeGram:
    """All similarities of two items, taken once, and from them the logits of any task on these items.

    A query's similarity to the mean of some shots is the weighted sum of its similarities to the shots, and the length
    of the mean follows from the shots' similarities to each other: a task only looks numbers up.

    Parameters
    ----------
    features : Tensor of floats, shape (n, D)
        Features of the items; half precision counts as float32.
    items : Tensor of int64, shape (N,), optional
        The distinct items that tasks may hold, best class by class, so that what a task looks up lies together in
        memory. Default: all, as they come.

    Raises
    ------
    ValueError
        If `features` is not 2-D.

    Notes
    -----
    Time O(N**2 D) and memory O(N**2) at first, then O(Y**2 S Q) time for a task, whatever D is. Equal to
    `nearest_centroid_logits` up to rounding, but that the lengths of means that all but vanish lose digits. Ours.

    Examples
    --------
    >>> import torch
    >>> from selectlib.tasks import nearest_centroid_logits
    >>> features = torch.randn(12, 5, generator=torch.Generator().manual_seed(100))
    >>> tasks = torch.tensor([[[0, 3, 5], [11, 2, 4]]])  # one task: two classes, two shots and a query of each
    >>> logits = EpisodeGram(features).logits(tasks, n_shot=2)
    >>> shots, queries = features[tasks[:, :, :2]], features[tasks[:, :, 2]]
    >>> torch.allclose(logits, nearest_centroid_logits(shots, queries), atol=1e-5)
    True
    """

    def __init__(self, features: Float[Tensor, "n D"], items: Int[Tensor, "N"] | None = None):
        if features.ndim != 2:
            raise ValueError(f"features must have shape (n, D), got {tuple(features.shape)}")
        rows = features.detach().to(torch.promote_types(features.dtype, torch.float32))
        self._lengths = rows.norm(dim=1).clamp(min=_EPS)
        rows = F.normalize(rows if items is None else rows[items], dim=1, eps=_EPS)
        self._similar = (rows @ rows.mT).flatten()
        self._n = len(rows)
        # Items are found by 32-bit numbers where they will do: half the traffic.
        places = torch.arange(self._n, dtype=torch.int32 if self._n**2 < 2**31 else torch.int64, device=rows.device)
        self._places = places if items is None else places.new_zeros(len(features)).index_copy(0, items, places)

    def logits(
        self, tasks: Int[Tensor, "e y m"], n_shot: int, temperature: float | Tensor = 10.0
    ) -> Float[Tensor, "e q y"]:
        """Score the queries of tasks, as `nearest_centroid_logits` does.

        Parameters
        ----------
        tasks : Tensor of int64, shape (E, Y, S + Q)
            Items, shots first, as from `EpisodeSampler`.
        n_shot : int
            S.
        temperature : float or Tensor, shape (), default 10.0
            Factor of the similarities.

        Returns
        -------
        Tensor of floats, shape (E, Y Q, Y)
            Logits, the queries of the first class first.
        """
        return temperature * self._cosines(tasks, n_shot).mT

    def predict(self, tasks: Int[Tensor, "e y m"], n_shot: int) -> Int[Tensor, "e q"]:
        """Predict the class of each query, by its place in the task; of equal scores the first.

        Parameters
        ----------
        tasks, n_shot
            As in `logits`.

        Returns
        -------
        Tensor of int64, shape (E, Y Q)
            From 0 to Y - 1.
        """
        return self._cosines(tasks, n_shot).max(1).indices  # on a CPU several times faster than argmax

    def _cosines(self, tasks: Int[Tensor, "e y m"], n_shot: int) -> Float[Tensor, "e y q"]:
        places = self._places[tasks]
        shots, queries = places[:, :, :n_shot], places[:, :, n_shot:].flatten(1)
        similar = self._look_up(shots.unsqueeze(3), queries[:, None, None])  # (E, Y, S, Y Q)
        if n_shot == 1:  # the mean is the shot, whose length does not matter
            return similar.squeeze(2)
        lengths = self._lengths[tasks[:, :, :n_shot]]
        between = self._look_up(shots.unsqueeze(3), shots.unsqueeze(2))
        square = torch.einsum("eys,eyst,eyt->ey", lengths, between, lengths)  # of the length of the shots' sum
        weights = lengths / square.clamp(min=_EPS**2).sqrt().unsqueeze(2)
        return (weights.unsqueeze(2) @ similar).squeeze(2)

    def _look_up(self, first: Int[Tensor, "..."], second: Int[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Similarities of pairs, given by places that broadcast."""
        at = first * self._n + second
        return self._similar.index_select(0, at.flatten()).view(at.shape)
