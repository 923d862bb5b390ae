"""Random projections of gradients that depend on a seed and on nothing else."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

from jaxtyping import Float, Int, Int8
from torch import Tensor

from selectlib import kernels
from selectlib._checks import check_int
from selectlib.kernels._checks import check_stream

KINDS = ("rademacher", "gaussian", "sjlt")
_VERSION = 1  # of the law of the entries: it changes when the same arguments would mean another matrix


@dataclass(frozen=True)
class JLProjector:
    """A random matrix R (P x k) that keeps norms and inner products on average, and is never built.

    Each entry is a function of (seed, model_id, row, column). The matrix is therefore the same on every device, for any
    batch or chunk size and after a restart, and chunks of the parameters may be projected one at a time.

    Parameters
    ----------
    proj_dim : int
        k, the length of a projection, from 1 to 2**31.
    kind : str, default "rademacher"
        ``"rademacher"``: signs ±1/√k, as in the paper. ``"gaussian"``: normal numbers with variance 1/k, quantised to
        65,536 values so that they are the same bits everywhere. ``"sjlt"``: `nnz` signs ±1/√nnz a row, about k / nnz
        times cheaper.
    seed : int, default 0
        From 0 to 2**64 - 1.
    nnz : int, default 1
        Entries a row of ``"sjlt"``, from 1 to k; must be 1 for the other kinds.

    Raises
    ------
    TypeError
        If a number is no int.
    ValueError
        If `kind` is unknown or a number is out of range.

    Notes
    -----
    Of two vectors a and b the projections' inner product has mean ⟨a, b⟩ and standard deviation at most about
    ``√(2 / k) ‖a‖ ‖b‖``. Source: TRAK (Park et al., 2023), section 3, step 2; the counters are ours.

    Examples
    --------
    >>> import torch
    >>> projector = JLProjector(64, kind="sjlt", seed=100)
    >>> g = torch.randn(5, 300)
    >>> head, tail = projector.project(g[:, :100]), projector.project(g[:, 100:], row_offset=100)
    >>> torch.allclose(head + tail, projector.project(g), atol=1e-5)
    True
    """

    proj_dim: int
    _: KW_ONLY
    kind: str = "rademacher"
    seed: int = 0
    nnz: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        check_stream(self.proj_dim, self.seed, 0)
        check_int("nnz", self.nnz, 1, self.proj_dim)
        if self.kind != "sjlt" and self.nnz != 1:
            raise ValueError(f"nnz must be 1 for kind {self.kind!r}, whose rows are full, got {self.nnz}")

    def project(self, grads: Float[Tensor, "b p"], *, model_id: int = 0, row_offset: int = 0) -> Float[Tensor, "b k"]:
        """Project gradients, or a chunk of their coordinates: ``grads @ R[row_offset : row_offset + p]``.

        Parameters
        ----------
        grads : Tensor, shape (b, p)
            Floating, of any strides.
        model_id : int, default 0
            From 0 to 2**32 - 1; each model has its own matrix.
        row_offset : int, default 0
            Where in the concatenation of all parameters the first coordinate lies.

        Returns
        -------
        Tensor, shape (b, k)
            float64 for float64 input, else float32, on the device of `grads`. The results of all chunks add up to the
            projection of the whole gradient.

        Raises
        ------
        TypeError
            If `grads` is no floating tensor, or a number is no int.
        ValueError
            If `grads` is not two-dimensional, or a number is out of range.

        Notes
        -----
        ``2 b p k`` operations, ``b p nnz`` for ``"sjlt"``. See `selectlib.kernels.project_rademacher`.

        Examples
        --------
        >>> import torch
        >>> JLProjector(8).project(torch.ones(2, 100)).shape
        torch.Size([2, 8])
        """
        stream: dict[str, Any] = dict(seed=self.seed, model_id=model_id, row_offset=row_offset)
        if self.kind == "rademacher":
            return kernels.project_rademacher(grads, self.proj_dim, **stream)
        if self.kind == "gaussian":
            return kernels.project_gaussian(grads, self.proj_dim, **stream)
        return kernels.project_sjlt(grads, self.proj_dim, nnz=self.nnz, **stream)

    def back_project(
        self, v: Float[Tensor, "k *m"], num_params: int, *, model_id: int = 0, row_offset: int = 0
    ) -> Float[Tensor, "p *m"]:
        """Bring vectors back to the parameters: ``u = R v``, so that ⟨g, u⟩ is the projection of g times v.

        Parameters
        ----------
        v : Tensor, shape (k,) or (k, m)
            Floating.
        num_params : int
            How many parameters, at least 0.
        model_id : int, default 0
            As in `project`.
        row_offset : int, default 0
            The first parameter.

        Returns
        -------
        Tensor, shape (num_params,) or (num_params, m)
            float64 for float64 input, else float32, on the device of `v`.

        Raises
        ------
        TypeError
            If `v` is no floating tensor, or a number is no int.
        ValueError
            If `v` has not k rows or has more than two dimensions, or a number is out of range.

        Notes
        -----
        ``2 P k m`` operations, ``P nnz m`` for ``"sjlt"``. See `selectlib.kernels.back_project_rademacher`.

        Examples
        --------
        >>> import torch
        >>> JLProjector(8).back_project(torch.ones(8), 100).shape
        torch.Size([100])
        """
        if isinstance(v, Tensor) and v.ndim and len(v) != self.proj_dim:
            raise ValueError(f"v must have proj_dim = {self.proj_dim} rows, got shape {tuple(v.shape)}")
        stream: dict[str, Any] = dict(seed=self.seed, model_id=model_id, row_offset=row_offset)
        if self.kind == "rademacher":
            return kernels.back_project_rademacher(v, num_params, **stream)
        if self.kind == "gaussian":
            return kernels.back_project_gaussian(v, num_params, **stream)
        return kernels.back_project_sjlt(v, num_params, nnz=self.nnz, **stream)

    def signs(self, rows: Int[Tensor, "r"], cols: Int[Tensor, "c"], model_id: int = 0) -> Int8[Tensor, "r c"]:
        """Signs of the entries of R at some rows and columns.

        Parameters
        ----------
        rows : Tensor of int64, shape (r,)
            Indices of parameters.
        cols : Tensor of int64, shape (c,)
            Columns from 0 to k - 1.
        model_id : int, default 0
            As in `project`.

        Returns
        -------
        Tensor of int8, shape (r, c)
            -1, 0 or 1 on the device of `rows`; 0 occurs with ``"sjlt"`` only.

        Raises
        ------
        TypeError
            If `rows` or `cols` is no int64 tensor.
        ValueError
            If an index is out of range.

        Notes
        -----
        About 100 integer operations an entry: to look at, not to project with.

        Examples
        --------
        >>> import torch
        >>> JLProjector(8, seed=100).signs(torch.tensor([0, 200]), torch.arange(8)).shape
        torch.Size([2, 8])
        """
        return kernels.projection_signs(
            self.kind, rows, cols, self.proj_dim, seed=self.seed, model_id=model_id, nnz=self.nnz
        )

    def metadata(self) -> dict[str, str | int]:
        """What makes two projections comparable, ready for JSON.

        Returns
        -------
        dict
            ``kind``, ``proj_dim``, ``seed``, ``nnz`` and ``version`` (of the law of the entries). Features whose
            metadata differ belong to different matrices.

        Notes
        -----
        O(1). Device, batch and chunk size are left out on purpose: the matrix does not depend on them.

        Examples
        --------
        >>> JLProjector(512, seed=100).metadata()
        {'kind': 'rademacher', 'proj_dim': 512, 'seed': 100, 'nnz': 1, 'version': 1}
        """
        return {
            "kind": self.kind,
            "proj_dim": self.proj_dim,
            "seed": self.seed,
            "nnz": self.nnz,
            "version": _VERSION,
        }
