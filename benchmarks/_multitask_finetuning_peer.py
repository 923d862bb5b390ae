"""easyfsl as a contestant. Import this module only where that is installed."""

import torch
from _multitask_finetuning_torchvision import REMARK as REMARK
from easyfsl.datasets import FeaturesDataset
from easyfsl.methods import FewShotClassifier, PrototypicalNetworks, SimpleShot
from easyfsl.samplers import TaskSampler
from easyfsl.utils import evaluate, evaluate_on_one_task
from torch import Tensor
from torch.utils.data import DataLoader, Sampler


class TakesAnArgument(Sampler):
    """torch's samplers no longer take the argument that easyfsl 1.5.0 hands them."""

    def __init__(self, data_source: object = None) -> None:
        super().__init__()


class Tasks(TaskSampler, TakesAnArgument):
    """easyfsl's sampler, which does not start beside a current torch otherwise."""


METHODS = {"simple_shot": SimpleShot, "prototypical": PrototypicalNetworks}


def accuracy(name: str, features: Tensor, tasks: Tensor, n_shot: int) -> float:
    """Share of right queries of tasks that were drawn before, one task after the other, as its `evaluate` goes on."""
    way, each = tasks.shape[1:]
    shots, queries = (torch.arange(way, device=features.device).repeat_interleave(n) for n in (n_shot, each - n_shot))
    model, right, total = METHODS[name]().eval(), 0, 0
    with torch.no_grad():
        for task in tasks:
            support, query = features[task[:, :n_shot].flatten()], features[task[:, n_shot:].flatten()]
            correct, asked = evaluate_on_one_task(model, support, shots, query, queries)
            right, total = right + correct, total + asked
    return right / total


def scores(features: Tensor, task: Tensor, n_shot: int) -> Tensor:
    """SimpleShot's cosines of one task's queries, (queries, classes)."""
    model: FewShotClassifier = SimpleShot().eval()
    model.process_support_set(features[task[:, :n_shot].flatten()], torch.arange(len(task)).repeat_interleave(n_shot))
    return model(features[task[:, n_shot:].flatten()])


def sampler(labels: list[int], way: int, n_shot: int, n_query: int, n_tasks: int) -> TaskSampler:
    """Its sampler, which draws from Python's own generator."""
    return Tasks(dataset(torch.empty(len(labels), 0), labels), way, n_shot, n_query, n_tasks)


def dataset(features: Tensor, labels: list[int]) -> FeaturesDataset:
    """Features as its data set."""
    return FeaturesDataset(labels, features, [str(label) for label in range(max(labels) + 1)])


def evaluated(data: FeaturesDataset, way: int, n_shot: int, n_query: int, n_tasks: int) -> float:
    """Accuracy as its documentation has it: a sampler, a data loader that collates, `evaluate`."""
    tasks = Tasks(data, way, n_shot, n_query, n_tasks)
    loader = DataLoader(data, batch_sampler=tasks, collate_fn=tasks.episodic_collate_fn)
    return evaluate(SimpleShot(), loader, device="cpu", use_tqdm=False)
