"""Training, the plain way: one network after the other, PyTorch's own layers, loss and optimizer. What stacks are checked against.

Written from the documentation of `zoo_builder.specification.network`: the streams of random numbers, full batches, the schedule.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from zoo_builder.specification.dropout import Dropout, key_at, mixed, stream
from zoo_builder.specification.network import initialisation_seed

#: What was trained last: networks of one specification, with which every way of computing is compared.
_TRAINED = {}


def once(what, dataset, network, dtype, device, trained):
    """Train a network, unless it was the last time that its specification was asked for; `trained` does so."""
    zoo = (what.model_dump_json(), dataset.name, hash(dataset.train_inputs.tobytes()), dtype, device)
    if zoo not in _TRAINED:
        _TRAINED.clear()
        _TRAINED[zoo] = {}
    if network.name not in _TRAINED[zoo]:
        _TRAINED[zoo][network.name] = trained()
    return _TRAINED[zoo][network.name]


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


def learn(make, network, inputs, targets, loss, dtype=torch.float32, rates_of=None):
    """Train one network by all that a ``[training]`` table may say, with PyTorch's optimizers; `loss` is a PyTorch function.

    `rates_of` gives, of the module, what learning rates are multiplied by: name → factor. Returns the module, and how many
    batches its normalization has seen.
    """
    how = network.how
    torch.manual_seed(initialisation_seed(network.seed))
    module = make().to(dtype)
    inputs = torch.as_tensor(inputs)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    targets = torch.as_tensor(targets)
    targets = targets.to(dtype) if targets.is_floating_point() else targets
    names = dict(module.named_parameters())
    groups = [{"params": [value], "lr": network.learning_rate, "name": name} for name, value in names.items()]
    decay = {"weight_decay": network.weight_decay}
    if how.optimizer == "sgd":
        more = {"momentum": how.momentum, "nesterov": how.nesterov, "dampening": how.dampening}
        optimizer = torch.optim.SGD(groups, **decay, **more)
    else:
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[how.optimizer]
        optimizer = kind(groups, betas=how.betas, eps=how.eps, **decay)
    drops = [one for one in module.modules() if type(one) is Dropout]
    factors = dict.fromkeys(names, 1.0)
    averaged, count = None, 0
    ends = {math.ceil(e * network.examples / network.batch_size) for e in range(1 + network.steps * 2)} - {0}
    module.train()
    for step, chosen in enumerate(order(network.seed, network.examples, network.batch_size, network.steps)):
        if rates_of is not None and step in ends | {0}:
            factors = {**dict.fromkeys(names, 1.0), **rates_of(module)}
        rate = network.learning_rate
        if how.schedule == "steps":
            rate *= how.factor ** sum(step >= milestone * network.steps for milestone in how.milestones)
        risen = how.warmup * network.steps
        rate *= min(1.0, (step + 1) / risen) if risen else 1.0
        behind = max(0.0, (step - risen) / (network.steps - risen))
        rate *= {"cosine": math.cos(math.pi * behind / 2) ** 2, "linear": 1 - behind}.get(how.schedule, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * factors[group["name"]]
        for layer, drop in enumerate(drops):
            drop.key = torch.tensor(key_at(stream(network.seed, layer), step))
        x = inputs[chosen]
        if how.augmentation is not None:
            x = changed(x, how.augmentation, network.seed, step)
        optimizer.zero_grad()
        loss(module(x), targets[chosen]).backward()
        if how.sharpness is not None:
            _climb_and_return(module, how.sharpness, lambda x=x, t=targets[chosen]: loss(module(x), t))
        if how.clip:
            nn.utils.clip_grad_norm_(module.parameters(), how.clip)
        optimizer.step()
        now = [value.detach().clone() for value in module.parameters()]
        if how.average == "ema" and step + 1 >= how.average_from * network.steps:
            d = how.average_decay
            averaged = now if averaged is None else [d * a + (1 - d) * p for a, p in zip(averaged, now, strict=True)]
        swa = how.average == "swa" and step + 1 >= how.average_from * network.steps
        if swa and (step + 1 in ends or step + 1 == network.steps):
            averaged = now if averaged is None else [a + p for a, p in zip(averaged, now, strict=True)]
            count += 1
    if averaged is not None:
        for value, mean in zip(module.parameters(), averaged, strict=True):
            value.detach().copy_(mean / max(count, 1))
        take_statistics(module, inputs)
    return module


def _climb_and_return(module, sharpness, closure):
    """The second gradient of SAM and ASAM, where the parameters were before."""
    with torch.no_grad():
        before = {name: value.clone() for name, value in module.state_dict().items()}
        sizes = {
            name: value.abs() + 0.01 if sharpness.adaptive and "weight" in name else torch.ones_like(value)
            for name, value in module.named_parameters()
        }
        ways = {name: sizes[name] * value.grad for name, value in module.named_parameters()}
        norm = math.sqrt(sum(way.square().sum().item() for way in ways.values()))
        for name, value in module.named_parameters():
            value.add_(sharpness.rho * sizes[name] * ways[name] / norm)
    module.zero_grad()
    closure().backward()
    module.load_state_dict(before)


def take_statistics(module, inputs, batch=256):
    """Statistics of normalization anew, as PyTorch's cumulative average has them."""
    layers = [one for one in module.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    module.eval()
    for layer in layers:
        tracked = layer.num_batches_tracked.clone()
        layer.reset_running_stats()
        layer.train()
        layer.kept, layer.momentum = (layer.momentum, tracked), None
    size = min(batch, len(inputs))
    with torch.no_grad():
        for at in range(len(inputs) // size if layers else 0):
            module(inputs[at * size : (at + 1) * size])
    for layer in layers:
        layer.momentum, layer.num_batches_tracked = layer.kept


def changed(x, how, seed, step):
    """Augmented inputs (B, channels, …), example by example: rolled, turned, padded and cut."""
    keys = mixed(np.random.SeedSequence([seed, 3]).generate_state(1, np.uint64), np.array([step]))
    found = []
    for place, example in enumerate(x.unbind()):
        seen = example
        numbers = [int(one) >> 32 for one in mixed(keys, np.arange(5 * place, 5 * place + 5))]
        axes = list(range(1, example.dim()))
        for axis in axes:
            seen = torch.roll(seen, numbers[axis - 1] * (2 * how.shift + 1) // 2**32 - how.shift, axis)
        if how.flip and numbers[2] * 2 // 2**32:
            seen = seen.flip(-1)
        if how.crop:
            size = seen.shape
            seen = functional.pad(seen, [how.crop, how.crop] * len(axes))
            for axis in axes:
                seen = seen.narrow(axis, numbers[2 + axis] * (2 * how.crop + 1) // 2**32, size[axis])
        found.append(seen)
    return torch.stack(found)
