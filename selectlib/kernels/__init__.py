"""Inner loops that several rooms share: a reference in plain torch, a Triton kernel for CUDA, one function for both."""

from selectlib.kernels._kcenter import kcenter_greedy
from selectlib.kernels._kmeans import KMeansResult, kmeans
from selectlib.kernels._kmeanspp import kmeanspp
from selectlib.kernels._lion import lion_step_
from selectlib.kernels._philox import philox
from selectlib.kernels._projection_dense import (
    back_project_gaussian,
    back_project_rademacher,
    project_gaussian,
    project_rademacher,
)
from selectlib.kernels._projection_sparse import back_project_sjlt, project_sjlt
from selectlib.kernels._signs import projection_signs
from selectlib.kernels._topk import TopK, top_k
from selectlib.kernels._topp import topp_mask

__all__ = [
    "KMeansResult",
    "TopK",
    "back_project_gaussian",
    "back_project_rademacher",
    "back_project_sjlt",
    "kcenter_greedy",
    "kmeans",
    "kmeanspp",
    "lion_step_",
    "philox",
    "project_gaussian",
    "project_rademacher",
    "project_sjlt",
    "projection_signs",
    "top_k",
    "topp_mask",
]
