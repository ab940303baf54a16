#!/usr/bin/env bash
# PyTorch 2.13.0: a copy of a parametrized module, made by copy.deepcopy, shares the class that was made for the original.
# torch.nn.utils.parametrize.remove_parametrizations takes the parametrized property off that class, so that to make the copy
# plain breaks the original: it has no weight any more, while is_parametrized still says True.
# A reader expects that what is done to a deep copy leaves the original alone.
# Seen: "'ParametrizedLinear' object has no attribute 'weight'"
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'END'
import copy

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

layer = parametrizations.weight_norm(nn.Linear(3, 2))
x = torch.ones(1, 3)
before = layer(x)
plain = parametrize.remove_parametrizations(copy.deepcopy(layer), "weight")
assert torch.allclose(plain(x), before)
assert parametrize.is_parametrized(layer)
try:
    layer(x)
except AttributeError as error:
    print(error)
    assert "has no attribute 'weight'" in str(error)
else:
    raise SystemExit("the original still works")
END
