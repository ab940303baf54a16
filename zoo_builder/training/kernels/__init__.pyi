from .derivatives import differentiate as differentiate, multiply_hessian as multiply_hessian
from .evaluation import evaluate as evaluate, logits as logits, statistics as statistics
from .layout import (
    ADDITION as ADDITION,
    CONVOLUTION as CONVOLUTION,
    MEAN as MEAN,
    NORMALIZATION as NORMALIZATION,
    RELU as RELU,
    STEP as STEP,
    VALUE as VALUE,
)
from .normalization import strip as strip
from .recipe import (
    ADAM as ADAM,
    ADAMW as ADAMW,
    CROSS_ENTROPY as CROSS_ENTROPY,
    RECIPE as RECIPE,
    SGD as SGD,
    SQUARES as SQUARES,
)
from .training import train as train
