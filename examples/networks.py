"""Four trainings of one network in plain PyTorch, three of which lack something; then `mdbench diagnose` about each.

    python examples/networks.py       # writes weights beside itself, in seconds
    cd examples
    mdbench diagnose networks:slow --weights slow.pt --data networks:data --quick --out report-slow

`slow` learns at a rate of 1e-4, `few` from 60 examples, `narrow` has two hidden units a layer, `fine` lacks none of it.
"""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

HOW = {"slow": (32, 1e-4, 1200), "few": (32, 0.1, 60), "narrow": (2, 0.1, 1200), "fine": (32, 0.1, 1200)}


def network(width):
    layers = [nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)]
    return nn.Sequential(*layers)


def digits(examples):
    inputs, targets = (torch.tensor(part) for part in load_digits(return_X_y=True))
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    inputs, targets = (inputs.float() / 16)[order], targets[order]
    return (inputs[:examples], targets[:examples]), (inputs[1200:], targets[1200:])


def train(name):
    width, rate, examples = HOW[name]
    torch.manual_seed(0)
    torch.set_num_threads(1)  # with others sums round in another way
    model, ((inputs, targets), _) = network(width), digits(examples)
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    for _ in range(30):
        for rows in torch.randperm(examples).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    torch.save(model.state_dict(), Path(__file__).with_name(f"{name}.pt"))


def slow():
    return network(32)


few = fine = slow


def narrow():
    return network(2)


def data():
    return digits(1200)


def few_data():
    return digits(60)


if __name__ == "__main__":
    for name in HOW:
        train(name)
