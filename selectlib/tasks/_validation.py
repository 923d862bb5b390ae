"""Few-shot accuracy of an encoder while it is finetuned."""

from typing import Any

import torch
from torch import nn

from selectlib.tasks._centroid import nearest_centroid_logits
from selectlib.tasks._inputs import Inputs, check_inputs, check_tasks, embed_rows

_TASKS = 64  # scored together


class Validation:
    """Inputs and tasks on which an encoder is scored by its nearest-centroid accuracy."""

    def __init__(self, given: Any, n_shot: int, device: torch.device):
        if not isinstance(given, tuple) or len(given) != 2:
            raise TypeError(f"validation must be a pair of inputs and tasks, got {type(given).__name__}")
        self.inputs: Inputs
        self.inputs, tasks = given
        check_tasks("validation tasks", tasks, check_inputs("validation inputs", self.inputs), n_shot)
        self.n_shot = n_shot
        self.rows, places = tasks.unique(return_inverse=True)  # an input is embedded once
        self.places = places.to(device)

    @torch.no_grad()
    def accuracy(self, encoder: nn.Module, device: torch.device, autocast: bool) -> float:
        """The share of queries that are classified right."""
        features = embed_rows(encoder, self.inputs, self.rows, device, autocast)
        right = torch.zeros((), dtype=torch.float64, device=device)
        classes = torch.arange(self.places.shape[1], device=device)
        for places in self.places.split(_TASKS):
            tasks = features[places]
            logits = nearest_centroid_logits(tasks[:, :, : self.n_shot], tasks[:, :, self.n_shot :].flatten(1, 2))
            answers = logits.argmax(-1).view(len(places), len(classes), -1)
            right += (answers == classes[:, None]).sum()
        return right.item() / self.places[:, :, self.n_shot :].numel()
