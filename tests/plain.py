"""Training, the plain way: one network after the other, PyTorch's own layers, loss and optimizer. What stacks are checked against.

Written from the documentation of `zoo_builder.specification.network`: the streams of random numbers, full batches, the schedule.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from zoo_builder.specification.network import initialisation_seed


def order(seed, examples, batch_size, steps):
    """The positions of the examples of every step, (steps, batch_size)."""
    epochs = math.ceil(steps * batch_size / examples)
    stream = [np.random.default_rng([seed, 1, epoch]).permutation(examples) for epoch in range(epochs)]
    return np.concatenate(stream)[: steps * batch_size].reshape(steps, batch_size)


def train(make, network, training, inputs, labels, dtype=torch.float32, device="cpu"):
    """Train one network on its own examples; labels are those it is told. Returns the module."""
    torch.manual_seed(initialisation_seed(network.seed))
    module = make().to(device, dtype)
    inputs, labels = torch.as_tensor(inputs, dtype=dtype, device=device), torch.as_tensor(labels, device=device)
    optimizer = torch.optim.SGD(
        module.parameters(), lr=network.learning_rate, momentum=training.momentum, weight_decay=network.weight_decay
    )
    assert len(inputs) == network.examples
    module.train()
    for step, chosen in enumerate(order(network.seed, network.examples, network.batch_size, network.steps)):
        drops = sum(step >= milestone * network.steps for milestone in training.milestones)
        rate = network.learning_rate * training.factor**drops
        if training.warmup:
            rate *= min(1.0, (step + 1) / (training.warmup * network.steps))
        optimizer.param_groups[0]["lr"] = rate
        rows = torch.as_tensor(chosen, device=device)
        optimizer.zero_grad()
        functional.cross_entropy(module(inputs[rows]), labels[rows]).backward()
        optimizer.step()
    return module


@torch.no_grad()
def measure(module: nn.Module, inputs, labels, dtype=torch.float32):
    """Mean loss in nats and error in %, in evaluation mode."""
    logits = module.eval()(torch.as_tensor(inputs, dtype=dtype))
    labels = torch.as_tensor(labels)
    wrong = (logits.argmax(1) != labels).double().mean()
    return functional.cross_entropy(logits.double(), labels).item(), 100 * wrong.item()
