"""Which K shots of a new domain to label, and how to adapt a network with them."""

from selectlib.support._adapt_bn import adapt_bn
from selectlib.support._byol import BYOL
from selectlib.support._class_kmeans import ClassKMeansResult, class_kmeans
from selectlib.support._compare import compare_support
from selectlib.support._comparison import SupportComparison, SupportResult
from selectlib.support._embed import embed
from selectlib.support._finetune import finetune
from selectlib.support._global_kmeans import KMeansRepresentatives
from selectlib.support._lccs import LCCS
from selectlib.support._lccs_layer import LCCSBatchNorm
from selectlib.support._per_class import EntropyPerClass, RandomPerClass, StratifiedRandom
from selectlib.support._prepare import prepare_tasks
from selectlib.support._probcover import ProbCover
from selectlib.support._pseudo_labels import ensemble_proba, refine_pseudo_labels
from selectlib.support._report import SelectionReport, selection_report
from selectlib.support._selectnadapt import SelectNAdapt
from selectlib.support._source import train_source
from selectlib.support._task import SupportTask
from selectlib.support._tent import Tent
from selectlib.support._typiclust import TypiClust
from selectlib.support._views import affine_views, colour_views, random_affine

__all__ = [
    "BYOL",
    "LCCS",
    "ClassKMeansResult",
    "EntropyPerClass",
    "KMeansRepresentatives",
    "LCCSBatchNorm",
    "ProbCover",
    "RandomPerClass",
    "SelectNAdapt",
    "SelectionReport",
    "StratifiedRandom",
    "SupportComparison",
    "SupportResult",
    "SupportTask",
    "Tent",
    "TypiClust",
    "adapt_bn",
    "affine_views",
    "class_kmeans",
    "colour_views",
    "compare_support",
    "embed",
    "ensemble_proba",
    "finetune",
    "prepare_tasks",
    "random_affine",
    "refine_pseudo_labels",
    "selection_report",
    "train_source",
]
