"""The few reference networks, and the one loop that trains them: many replicas side by side."""

from selectlib.nets._batchnorm_convnet import BatchNormConvNet
from selectlib.nets._bottleneck import Bottleneck
from selectlib.nets._conv_encoder import ConvEncoder
from selectlib.nets._convnet import ConvNet
from selectlib.nets._evaluate import evaluate
from selectlib.nets._gpt import GPT
from selectlib.nets._losses import causal_lm_loss, classification_loss
from selectlib.nets._mlp import MLP
from selectlib.nets._orders import batch_orders
from selectlib.nets._pooled_convnet import PooledConvNet
from selectlib.nets._resnet import ResNet9
from selectlib.nets._simclr import simclr
from selectlib.nets._train import train
from selectlib.nets._vit import VisionTransformer

__all__ = [
    "GPT",
    "MLP",
    "BatchNormConvNet",
    "Bottleneck",
    "ConvEncoder",
    "ConvNet",
    "PooledConvNet",
    "ResNet9",
    "VisionTransformer",
    "batch_orders",
    "causal_lm_loss",
    "classification_loss",
    "evaluate",
    "simclr",
    "train",
]
