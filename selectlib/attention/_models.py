"""Which models can run with sparse attention, and how their caches are cut."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel


def require_transformers() -> None:
    """Raise an ImportError that says what to install if transformers is missing."""
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise ImportError("transformers is missing: pip install 'what-to-keep[hf]'") from error


def check_model(model: "PreTrainedModel") -> None:
    """Refuse a model that sparse attention cannot steer.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A decoder of transformers: Llama, Mistral, Qwen2, Qwen3 and others of their kind.

    Raises
    ------
    TypeError
        If `model` is no model of transformers.
    ValueError
        If the model does not take its attention from transformers' attention interface, has an encoder, has layers
        that are not full attention (sliding windows, chunks, linear attention), caps its attention scores, or asks
        for a static cache. The message names the model and the setting.

    Notes
    -----
    Reads the configuration only: no weights, no forward. What a model does not attend to must be the selection's
    doing and nothing else's, or reads and quality cannot be put down to it.

    Examples
    --------
    >>> from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
    >>> size = dict(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
    ...             num_key_value_heads=1)
    >>> check_model(LlamaForCausalLM(LlamaConfig(**size)))
    >>> check_model(MistralForCausalLM(MistralConfig(sliding_window=4, **size)))
    Traceback (most recent call last):
    ...
    ValueError: model MistralForCausalLM has sliding_window=4; every layer must have full attention...
    """
    config = getattr(model, "config", None)
    name = type(model).__name__
    if not hasattr(model, "set_attn_implementation") or config is None:
        raise TypeError(f"model must be a model of transformers, got {name}")
    if not model._supports_attention_backend or not model._can_set_attn_implementation():
        raise ValueError(f"model {name} does not take its attention from transformers' attention interface")
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(f"model {name} has an encoder; only decoders are supported")
    kinds = getattr(config, "layer_types", None)
    other = sorted(set(kinds or ()) - {"full_attention"})
    if other:
        raise ValueError(
            f"model {name} has layers of {', '.join(other)}; only full attention in every layer is supported"
        )
    window = getattr(config, "sliding_window", None)
    if window is not None and kinds is None:  # where layer_types exist, they say which layers use the window: none
        raise ValueError(
            f"model {name} has sliding_window={window}; every layer must have full attention "
            "(sliding_window=None, if it was trained so)"
        )
    if getattr(config, "attn_logit_softcapping", None) is not None:
        raise ValueError(f"model {name} caps its attention scores at {config.attn_logit_softcapping}; not supported")
    kind = getattr(getattr(model, "generation_config", None), "cache_implementation", None)
    if kind not in (None, "dynamic"):
        raise ValueError(f"model {name} asks for a cache of kind {kind!r}; only a dynamic cache is supported")


def check_pair(
    draft: "PreTrainedModel",
    target: "PreTrainedModel",
    *,
    tokenizers: tuple[Any, Any] | None = None,
) -> None:
    """Refuse two models that cannot draft and verify the same tokens.

    Parameters
    ----------
    draft, target : transformers.PreTrainedModel
        The small and the large model; each must pass `check_model`.
    tokenizers : tuple of two tokenizers, optional
        The tokenizers of draft and target, objects with ``get_vocab()``. Models do not carry them: without them, only
        the sizes of the vocabularies are compared.

    Raises
    ------
    TypeError
        If a model is no model of transformers.
    ValueError
        If `check_model` refuses one of them, their vocabularies differ in size, or the tokenizers give a token
        different numbers.

    Notes
    -----
    Reading the vocabularies costs time linear in their size. Draft and target must cut a text at the same places, or
    the draft's attention is about other tokens than the target's.

    Examples
    --------
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> size = dict(hidden_size=8, intermediate_size=8, num_attention_heads=2)
    >>> draft = LlamaForCausalLM(LlamaConfig(vocab_size=8, num_hidden_layers=1, **size))
    >>> target = LlamaForCausalLM(LlamaConfig(vocab_size=9, num_hidden_layers=2, **size))
    >>> check_pair(draft, draft)
    >>> check_pair(draft, target)
    Traceback (most recent call last):
    ...
    ValueError: draft and target must share one vocabulary, got 8 and 9 tokens
    """
    check_model(draft)
    check_model(target)
    sizes = draft.config.vocab_size, target.config.vocab_size
    if sizes[0] != sizes[1]:
        raise ValueError(f"draft and target must share one vocabulary, got {sizes[0]} and {sizes[1]} tokens")
    if tokenizers is not None:
        first, second = (tokenizer.get_vocab() for tokenizer in tokenizers)
        if first != second:
            token = min(t for t in first.keys() | second.keys() if first.get(t) != second.get(t))
            raise ValueError(
                f"tokenizers must give each token one number; {token!r} is {first.get(token)} for the draft "
                f"and {second.get(token)} for the target"
            )


def crop_cache(cache: "Cache", length: int) -> None:
    """Keep the first tokens of a cache and forget the rest, in place.

    Parameters
    ----------
    cache : transformers.Cache
        A dynamic cache, as a forward returns it.
    length : int
        Tokens to keep, from 0 to the cache's own length.

    Raises
    ------
    TypeError
        If a layer of the cache is not dynamic: static, sliding, quantized or linear ones cannot be cut anywhere.
    ValueError
        If `length` is negative or more than the cache holds.

    Notes
    -----
    A view in each layer, no copy; the memory of the dropped tokens is freed when the cache grows next. transformers'
    own ``crop`` counts what to remove.

    Examples
    --------
    >>> import torch
    >>> from transformers import DynamicCache
    >>> cache = DynamicCache()
    >>> _ = cache.update(torch.ones(1, 2, 5, 4), torch.ones(1, 2, 5, 4), 0)
    >>> crop_cache(cache, 3)
    >>> cache.get_seq_length(), cache.layers[0].values.shape
    (3, torch.Size([1, 2, 3, 4]))
    """
    from transformers.cache_utils import DynamicLayer

    kinds = sorted({type(layer).__name__ for layer in cache.layers if type(layer) is not DynamicLayer})
    if kinds:
        raise TypeError(f"cache must be made of dynamic layers, got {', '.join(kinds)}")
    held = cache.get_seq_length()
    if not 0 <= length <= held:
        raise ValueError(f"length must be from 0 to the {held} tokens of the cache, got {length}")
    if length < held:
        cache.crop(length - held)
