"""Which tasks to finetune on before a few-shot target, and how to finetune on them."""

from selectlib.tasks._adapter import LinearAdapter
from selectlib.tasks._centroid import episode_loss, nearest_centroid_logits
from selectlib.tasks._classifier import NearestCentroidClassifier
from selectlib.tasks._consistency_diversity import ConsistencyDiversitySelector
from selectlib.tasks._coverage import coverage_curve
from selectlib.tasks._episodes import EpisodeSampler
from selectlib.tasks._episodic_accuracy import EpisodicAccuracy, episodic_accuracy
from selectlib.tasks._gram import EpisodeGram
from selectlib.tasks._linear_encoder import fit_linear_encoder, linear_task_accuracy, linear_task_loss
from selectlib.tasks._linear_theory import LinearTaskTheory, linear_task_theory
from selectlib.tasks._multitask import MultitaskFinetuner
from selectlib.tasks._sentence_encoder import SentenceEncoder
from selectlib.tasks._standard import StandardFinetuner
from selectlib.tasks._task_stats import TaskStats

__all__ = [
    "ConsistencyDiversitySelector",
    "EpisodeGram",
    "EpisodeSampler",
    "EpisodicAccuracy",
    "LinearAdapter",
    "LinearTaskTheory",
    "MultitaskFinetuner",
    "NearestCentroidClassifier",
    "SentenceEncoder",
    "StandardFinetuner",
    "TaskStats",
    "coverage_curve",
    "episode_loss",
    "episodic_accuracy",
    "fit_linear_encoder",
    "linear_task_accuracy",
    "linear_task_loss",
    "linear_task_theory",
    "nearest_centroid_logits",
]
