"""A draft and a target from the hub of Hugging Face, or from folders in its format."""

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch

from selectlib.attention._models import check_pair, require_transformers
from selectlib.device import pick_device

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class ModelPair:
    """Two language models that share a tokenizer.

    Attributes
    ----------
    draft, target : PreTrainedModel
        On the same device, in eval mode.
    tokenizer : tokenizers.Tokenizer
        The target's.

    Examples
    --------
    >>> from selectlib.attention._tiny_pair import tiny_llama_pair
    >>> tiny = tiny_llama_pair()
    >>> ModelPair(tiny.draft, tiny.target, tiny.tokenizer).target.config.num_hidden_layers
    4
    """

    draft: "PreTrainedModel"
    target: "PreTrainedModel"
    tokenizer: "Tokenizer"


def load_pair(
    draft: str | PathLike[str],
    target: str | PathLike[str],
    *,
    device: str | torch.device = "auto",
    dtype: torch.dtype = torch.bfloat16,
) -> ModelPair:
    """Load a draft and a target of the Llama family, and check that they go together.

    Parameters
    ----------
    draft, target : str or path
        Names on the hub, such as ``"NousResearch/Llama-2-7b-hf"``, or folders with ``config.json``, weights in
        safetensors files, and ``tokenizer.json``.
    device : str or torch.device, default "auto"
        Where the models go; names as in `selectlib.device.pick_device`.
    dtype : torch.dtype, default torch.bfloat16
        Of the weights.

    Returns
    -------
    ModelPair
        Both models in eval mode, and the target's tokenizer.

    Raises
    ------
    ImportError
        If transformers is not installed: the extra ``hf`` brings it.
    OSError
        If a model is not found, or has no safetensors files: weights in pickles are not loaded.
    ValueError
        If the models do not go together or cannot be steered (see `check_pair`), or a tokenizer has no fast form.

    Notes
    -----
    What the hub sends is kept in its own cache. No code from the hub is run. While the weights load, transformers shows
    progress bars, unless ``transformers.utils.logging.disable_progress_bar()`` was called.

    Examples
    --------
    >>> load_pair("no/folder", "no/folder", device="nowhere")
    Traceback (most recent call last):
    ...
    ValueError: device must be 'auto' or a device such as ...
    """
    picked = pick_device(device)
    require_transformers()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    models: list[Any] = []
    tokenizers: list[Any] = []
    for name in map(str, (draft, target)):
        tokenizer = AutoTokenizer.from_pretrained(name)
        if not tokenizer.is_fast:
            raise ValueError(f"the tokenizer of {name!r} must have a fast form (tokenizer.json)")
        tokenizers.append(tokenizer)
        model: Any = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, use_safetensors=True)
        models.append(model.to(picked).eval())
    check_pair(models[0], models[1], tokenizers=(tokenizers[0], tokenizers[1]))
    return ModelPair(models[0], models[1], tokenizers[1].backend_tokenizer)
