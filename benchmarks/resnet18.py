"""ResNet-18 (He et al., CVPR 2016) as torchvision builds it, of plain PyTorch modules, and data to measure it on."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo_builder.landscape.data import Data

CLASSES = 10
#: torchvision.models.resnet18(num_classes=10) has as many.
PARAMETERS = 11_181_642


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ResNet18(nn.Module):
    """Eighteen layers with weights, 41 modules with parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Block(64, 64, 1), Block(64, 64, 1))
        self.layer2 = nn.Sequential(Block(64, 128, 2), Block(128, 128, 1))
        self.layer3 = nn.Sequential(Block(128, 256, 2), Block(256, 256, 1))
        self.layer4 = nn.Sequential(Block(256, 512, 2), Block(512, 512, 1))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(512, CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def problem(steps: int, examples: int) -> tuple[nn.Module, Data]:
    """Return a network after some steps of training, with 64 images of 32 × 32 each, and the first images it saw."""
    torch.manual_seed(0)
    network, patterns = ResNet18(), torch.randn(CLASSES, 3, 32, 32)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS
    labels = torch.randint(CLASSES, (max(examples, 512),))
    inputs = patterns[labels] / 2 + torch.randn(len(labels), 3, 32, 32)
    optimizer = torch.optim.SGD(network.parameters(), 0.02, momentum=0.9)
    for step in range(steps):
        chosen = torch.arange(64 * step, 64 * (step + 1)) % len(labels)
        optimizer.zero_grad()
        functional.cross_entropy(network(inputs[chosen]), labels[chosen]).backward()
        optimizer.step()
    return network.eval(), Data(inputs[:examples].clone(), labels[:examples].clone())
