"""Which tokens of the KV cache? Draft-guided sparse verification, its rivals, and one meter for all of them."""

from selectlib.attention._accept import speculative_accept
from selectlib.attention._alignment import LayerAlignment
from selectlib.attention._audit import Audit
from selectlib.attention._break_even import BreakEvenRow, break_even, break_even_length, weight_bytes
from selectlib.attention._budgets import matched_budgets
from selectlib.attention._capture import Capture, capture_attention
from selectlib.attention._decoder import DecodingResult, SpecAttnDecoder
from selectlib.attention._evaluate import MaskedPerplexity, masked_perplexity
from selectlib.attention._interface import register_sparse_attention
from selectlib.attention._law import MaskBias, ToyModel, mask_bias
from selectlib.attention._layer_maps import greedy_map, monotone_map, uniform_map
from selectlib.attention._leaderboard import Score, leaderboard, score_policy
from selectlib.attention._load_pair import ModelPair, load_pair
from selectlib.attention._look_ahead import look_ahead
from selectlib.attention._meter import KVAccessMeter, kv_bytes_per_token
from selectlib.attention._models import check_model, check_pair, crop_cache
from selectlib.attention._needles import NeedleDocuments, needle_documents, needle_names
from selectlib.attention._plan import SparsePlan
from selectlib.attention._policies import (
    H2OPolicy,
    OracleTopKPolicy,
    OracleTopPPolicy,
    QuestPolicy,
    RandomPolicy,
    SelectionPolicy,
    SpecAttnPolicy,
    StreamingLLMPolicy,
    TOVAPolicy,
    WindowPolicy,
)
from selectlib.attention._rotary import rotary_frequencies
from selectlib.attention._run import Run, step_starts
from selectlib.attention._selection import draft_keep
from selectlib.attention._stats import DecodingStats
from selectlib.attention._stepwise import stepwise_logits
from selectlib.attention._tiny_pair import (
    TinyPair,
    retrain_tiny_draft,
    tiny_draft_after_text,
    tiny_llama_pair,
    tiny_texts,
)
from selectlib.attention._tiny_quality import answer_accuracy, text_perplexity
from selectlib.attention._tiny_training import Lesson, new_llama, train_on_needles, train_on_text
from selectlib.attention._toy_loop import continuation_counts, continuation_law
from selectlib.attention._view import LayerView

__all__ = [
    "Audit",
    "BreakEvenRow",
    "Capture",
    "DecodingResult",
    "DecodingStats",
    "H2OPolicy",
    "KVAccessMeter",
    "LayerAlignment",
    "LayerView",
    "Lesson",
    "MaskBias",
    "MaskedPerplexity",
    "ModelPair",
    "NeedleDocuments",
    "OracleTopKPolicy",
    "OracleTopPPolicy",
    "QuestPolicy",
    "RandomPolicy",
    "Run",
    "Score",
    "SelectionPolicy",
    "SparsePlan",
    "SpecAttnDecoder",
    "SpecAttnPolicy",
    "StreamingLLMPolicy",
    "TOVAPolicy",
    "TinyPair",
    "ToyModel",
    "WindowPolicy",
    "answer_accuracy",
    "break_even",
    "break_even_length",
    "capture_attention",
    "check_model",
    "check_pair",
    "continuation_counts",
    "continuation_law",
    "crop_cache",
    "draft_keep",
    "greedy_map",
    "kv_bytes_per_token",
    "leaderboard",
    "load_pair",
    "look_ahead",
    "mask_bias",
    "masked_perplexity",
    "matched_budgets",
    "monotone_map",
    "needle_documents",
    "needle_names",
    "new_llama",
    "register_sparse_attention",
    "retrain_tiny_draft",
    "rotary_frequencies",
    "score_policy",
    "speculative_accept",
    "step_starts",
    "stepwise_logits",
    "text_perplexity",
    "tiny_draft_after_text",
    "tiny_llama_pair",
    "tiny_texts",
    "train_on_needles",
    "train_on_text",
    "uniform_map",
    "weight_bytes",
]
