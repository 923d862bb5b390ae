"""Quest: pages of the cache by an upper bound on their scores."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from selectlib.attention._policies._base import SelectionPolicy, cached_columns, keep_top
from selectlib.attention._view import LayerView


class QuestPolicy(SelectionPolicy):
    """Keep, for each query and head, the pages whose keys could score highest.

    A page is bounded by the largest and the smallest value of each channel of its keys. The bounds are those of the
    moment when the query's step began: keys in flight are in no page, and the last page may be part full.

    Parameters
    ----------
    page : int, default 16
        Tokens a page.
    min_pages : int, default 3
        Pages that are kept at least, as in the authors' code, where there are so many.
    metadata_in_budget : bool, default False
        Whether the bounds, which weigh one token's key and value a page, are paid from the budget.

    Raises
    ------
    ValueError
        If `page` or `min_pages` is below 1.

    Notes
    -----
    O(h·q·(l / page)·d) for the scores. A budget of B tokens keeps ``max(min_pages, B // page)`` pages. The authors'
    code runs dense on more than one query at a time; here every query of a step selects for itself, and the meter's
    charge ``"union"`` counts what they read together.

    References
    ----------
    Tang et al., *Quest: Query-Aware Sparsity for Efficient Long-Context LLM Inference* (ICML 2024).

    Examples
    --------
    >>> import torch
    >>> from selectlib.attention._policies import QuestPolicy
    >>> from selectlib.attention._run import Run
    >>> from selectlib.attention._view import LayerView
    >>> policy = QuestPolicy(page=2, min_pages=1)
    >>> policy.begin(Run(torch.tensor([5]), 1, 1, cached=5, budgets=torch.tensor([[2]])))
    >>> keys = torch.tensor([[[0.0], [0.0], [0.0], [9.0], [1.0], [7.0]]])
    >>> policy.keep(LayerView(0, torch.ones(1, 1, 1), keys, torch.tensor([5]), 1.0)).int().tolist()
    [[[0, 0, 1, 1, 0, 0]]]
    """

    needs_budgets = True

    def __init__(self, page: int = 16, *, min_pages: int = 3, metadata_in_budget: bool = False) -> None:
        for name, value in (("page", page), ("min_pages", min_pages)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.page = page
        self.min_pages = min_pages
        self.metadata_in_budget = metadata_in_budget

    def keep(self, view: LayerView) -> Bool[Tensor, "h q l"]:
        """Choose cached tokens, as `SelectionPolicy.keep` says."""
        starts, budget = self.run.starts, self.budget(view.layer)
        pages = -(-starts // self.page)
        if self.metadata_in_budget:
            budget = (budget - pages).clamp(min=0)
        counts = torch.minimum((budget // self.page).clamp(min=self.min_pages), pages)
        kept = keep_top(self.page_scores(view), counts).repeat_interleave(self.page, dim=-1)[..., : view.key.shape[1]]
        return kept & cached_columns(starts, view.key.shape[1])

    def page_scores(self, view: LayerView) -> Float[Tensor, "h q pages"]:
        """Bound the products of each query with the cached keys of each page.

        Parameters
        ----------
        view : LayerView
            The layer's queries and keys.

        Returns
        -------
        Float[Tensor, "h q pages"]
            Upper bounds of the unscaled products; minus infinity for pages that the query's step found empty.
        """
        (groups, length, width), (heads, queries, _) = view.key.shape, view.query.shape
        pages = -(-length // self.page)
        # Bounds after each key of a page: the last ones are a full page's, those before a step's start a part page's.
        padded = torch.cat([view.key, view.key[:, -1:].expand(-1, pages * self.page - length, -1)], dim=1)
        paged = padded.view(groups, pages, self.page, width)
        high, low = paged.cummax(2).values, paged.cummin(2).values
        query = view.query.reshape(groups, -1, width)
        positive, negative = query.clamp(min=0), query.clamp(max=0)
        scores = positive @ high[:, :, -1].transpose(1, 2) + negative @ low[:, :, -1].transpose(1, 2)

        starts = self.run.starts
        last_key = (starts - 1).clamp(min=0)
        high, low = (bound.flatten(1, 2)[:, None, last_key] for bound in (high, low))
        positive, negative = (part.view(groups, -1, queries, width) for part in (positive, negative))
        part_page = (positive * high + negative * low).sum(-1).view(heads, queries, 1)
        page = torch.arange(pages, device=starts.device)
        is_last = page == (last_key // self.page)[:, None]
        scores = torch.where(is_last, part_page, scores.view(heads, queries, pages))
        return scores.masked_fill(page * self.page >= starts[:, None], -torch.inf)

    def metadata_bytes(self, view: LayerView) -> Float[Tensor, " q"]:
        """Bytes of the pages' bounds, as `SelectionPolicy.metadata_bytes` says."""
        groups, _, width = view.key.shape
        pages = -(-self.run.starts // self.page)
        return (pages * (2 * groups * width * view.key.element_size())).float()
