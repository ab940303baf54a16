from .attention import Attention as Attention, Features as Features, transformer as transformer
from .convolutions import cnn1d as cnn1d, cnn2d as cnn2d
from .perceptron import mlp as mlp
from .physics import Pinn as Pinn, pinn as pinn
from .residual import BasicBlock as BasicBlock, resnet18 as resnet18
from .segmentation import unet as unet
from .shallow import two_layer as two_layer
from .sizes import Shape as Shape, parameter_count as parameter_count
