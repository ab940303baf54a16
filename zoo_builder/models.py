"""`zoo_builder.specification.models`, under the path that architectures of one's own import."""

from zoo_builder.specification.models import BasicBlock, Shape, cnn1d, cnn2d, mlp, parameter_count, resnet18

__all__ = ["BasicBlock", "Shape", "cnn1d", "cnn2d", "mlp", "parameter_count", "resnet18"]
