from .apart import telling as telling
from .derivatives import differentiate as differentiate, multiply_hessian as multiply_hessian
from .evaluation import (
    evaluate as evaluate,
    evaluate_positions as evaluate_positions,
    logits as logits,
    statistics as statistics,
)
from .layout import (
    ACTIVATION as ACTIVATION,
    ADDITION as ADDITION,
    ATTENTION as ATTENTION,
    AVERAGE as AVERAGE,
    CONCATENATION as CONCATENATION,
    CONVOLUTION as CONVOLUTION,
    COORDINATES as COORDINATES,
    DROPOUT as DROPOUT,
    EMBEDDING as EMBEDDING,
    EQUATION as EQUATION,
    FEATURES as FEATURES,
    GELU as GELU,
    GELU_BY_TANH as GELU_BY_TANH,
    GROUPS as GROUPS,
    JET as JET,
    LARGEST as LARGEST,
    LAYER as LAYER,
    MEAN as MEAN,
    NORMALIZATION as NORMALIZATION,
    POOLING as POOLING,
    POSITIONS as POSITIONS,
    RELU as RELU,
    SIGMOID as SIGMOID,
    SILU as SILU,
    SOFTPLUS as SOFTPLUS,
    STEP as STEP,
    TANH as TANH,
    TRANSPOSED as TRANSPOSED,
    VALUE as VALUE,
)
from .normalization import strip as strip
from .recipe import (
    ADAM as ADAM,
    ADAMW as ADAMW,
    CROSS_ENTROPY as CROSS_ENTROPY,
    PER_POSITION as PER_POSITION,
    RECIPE as RECIPE,
    SGD as SGD,
    SQUARES as SQUARES,
)
from .training import train as train
