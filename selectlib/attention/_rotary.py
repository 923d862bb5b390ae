"""The rotary frequencies of a model."""

from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from selectlib.attention._models import check_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def rotary_frequencies(model: "PreTrainedModel") -> Float[Tensor, " half"]:
    """By what angle a position turns each pair of channels, for `StreamingLLMPolicy` with shifted positions.

    Parameters
    ----------
    model : PreTrainedModel
        Model of the Llama family.

    Returns
    -------
    Float[Tensor, "half"]
        Radians a position, one for each two channels of a head.

    Raises
    ------
    TypeError, ValueError
        As `check_model` raises, and ValueError if the model has no rotary embedding of whole heads, or one whose
        frequencies change with the length of the sequence.

    Notes
    -----
    Scaled embeddings whose frequencies are fixed (linear, Llama 3, YaRN) are read as they are.

    Examples
    --------
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from selectlib.attention import rotary_frequencies
    >>> config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
    ...                      num_attention_heads=2)
    >>> [round(frequency, 4) for frequency in rotary_frequencies(LlamaForCausalLM(config)).tolist()]
    [1.0, 0.01]
    """
    check_model(model)
    name, config = type(model).__name__, model.config
    rotary = getattr(model.base_model, "rotary_emb", None)
    frequencies = getattr(rotary, "inv_freq", None)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if rotary is None or frequencies is None or 2 * len(frequencies) != width:
        raise ValueError(f"model {name} must have one rotary embedding that turns whole heads")
    if rotary.rope_type in ("dynamic", "longrope"):
        raise ValueError(f"model {name} has rotary frequencies that change with length ({rotary.rope_type})")
    return frequencies
