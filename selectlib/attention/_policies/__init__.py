"""Policies: which cached tokens each query of a step may read. One protocol for one pass and for step by step."""

from selectlib.attention._policies._base import SelectionPolicy
from selectlib.attention._policies._oracle import OracleTopKPolicy, OracleTopPPolicy
from selectlib.attention._policies._past_attention import H2OPolicy, TOVAPolicy
from selectlib.attention._policies._quest import QuestPolicy
from selectlib.attention._policies._random import RandomPolicy
from selectlib.attention._policies._specattn import SpecAttnPolicy
from selectlib.attention._policies._window import StreamingLLMPolicy, WindowPolicy

__all__ = [
    "H2OPolicy",
    "OracleTopKPolicy",
    "OracleTopPPolicy",
    "QuestPolicy",
    "RandomPolicy",
    "SelectionPolicy",
    "SpecAttnPolicy",
    "StreamingLLMPolicy",
    "TOVAPolicy",
    "WindowPolicy",
]
