"""Training: a network from batch to batch."""

import numpy as np

from zoo_builder.training.kernels import adam, gradients, losses, sgd
from zoo_builder.training.kernels.compilation import compiled
from zoo_builder.training.kernels.layout import gather
from zoo_builder.training.kernels.passes import backward, forward
from zoo_builder.training.kernels.recipe import SGD

#: As in `zoo_builder.training.optimizers`.
_ETA, _LEAST_NORM, _CLIP_EPSILON = 0.01, 1e-16, 1e-6


@compiled
def train(
    values: np.ndarray,
    steps: np.ndarray,
    parameters: np.ndarray,
    moments: np.ndarray,
    gradient: np.ndarray,
    buffers: np.ndarray,
    arena: np.ndarray,
    saved: np.ndarray,
    scratch: np.ndarray,
    examples: np.ndarray,
    chosen: np.ndarray,
    labels: np.ndarray,
    targets: np.ndarray,
    rates: np.ndarray,
    recipes: np.ndarray,
    weights: np.ndarray,
    factors: np.ndarray,
    scaled: np.ndarray,
    average: np.ndarray,
    moves: np.ndarray,
    aside: np.ndarray,
    keys: np.ndarray,
    taken: int,
    told: np.ndarray,
) -> None:
    """Train one network for some steps.

    Parameters
    ----------
    values, steps : the tape: the input is its first value, what is put out is the target of its last step.
    parameters, gradient : (P,); the former are changed.
    moments : (2, P), changed: the velocity of SGD, the two moments of Adam.
    buffers : (Q,), changed.
    arena, saved, scratch : memory to work in, see `zoo_builder.training.Memory`.
    examples : (n, height · width · channels).
    chosen : examples, int64 (steps, B).
    labels, targets : of them: classes, int64 (steps, B), or values (steps, B, K); the other one is not looked at.
    rates : learning rates (steps,).
    recipes : `RECIPE` (1,).
    weights : of classes, (K,), where the recipe is weighted.
    factors : of the learning rate, (P,), where the recipe is not plain.
    scaled : (P,), which parameters are weights, where the recipe is adaptive.
    average, moves : an average over steps, (P,), changed, and by how much it moves to the parameters after each, (steps,).
    aside : (P + Q,), to keep parameters and buffers in where the recipe has a second gradient.
    keys : of dropout's masks, uint64 (steps, D) of D layers; (steps, 0) where nothing is dropped.
    taken : steps that are behind.
    told : (steps,), written: the mean loss of each batch.
    """
    batch, many = chosen.shape[1], len(parameters)
    each = np.empty((2, batch), arena.dtype)
    out, recipe = values[steps[len(steps) - 1].target], recipes[0]
    passes = 2 if recipe.rho > 0 else 1
    for t in range(len(chosen)):
        gather(examples, chosen[t], values[0], arena)
        for which in range(passes):
            if which == 1:
                aside[:many], aside[many:] = parameters, buffers
                gradients.climb(parameters, gradient, scaled, recipe.rho, recipe.adaptive, _ETA, _LEAST_NORM)
            forward(values, steps, parameters, buffers, arena, saved, scratch, batch, True, keys[t])
            loss = losses.value_and_slope(out, recipe, labels[t], targets[t], weights, arena, batch, each)
            if which == 0:
                told[t] = loss
            backward(values, steps, parameters, gradient, arena, saved, scratch, batch, True, keys[t])
        if passes == 2:  # statistics have moved once
            parameters[:], buffers[:] = aside[:many], aside[many:]
        if recipe.clip > 0:
            gradients.clip(gradient, recipe.clip, _CLIP_EPSILON)
        if recipe.plain:
            sgd.step(parameters, moments[0], gradient, rates[t], recipe.momentum, recipe.weight_decay)
        elif recipe.optimizer == SGD:
            sgd.any_step(parameters, moments[0], gradient, rates[t], factors, recipe, taken + t)
        else:
            adam.step(parameters, moments, gradient, rates[t], factors, recipe, taken + t)
        if moves[t] == 1:
            average[:] = parameters
        elif moves[t] > 0:
            move = average.dtype.type(moves[t])
            for i in range(many):
                average[i] += move * (parameters[i] - average[i])
