#!/usr/bin/env bash
# safetensors 0.8.0: a file does not keep the order of what was saved. Tensors come back in the alphabetical order of their
# names: biases before weights, layer 10 before layer 2.
# A reader expects the order of the state dict. Whoever flattens what load_file returns gets a vector of the right length with
# other parameters at each place than parameters_to_vector of the same network has.
# Seen: saved 0.weight 0.bias 2.weight 2.bias 10.weight 10.bias
#       loaded 0.bias 0.weight 10.bias 10.weight 2.bias 2.weight
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - "$folder/network.safetensors" <<'END'
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

names = [f"{layer}.{part}" for layer in (0, 2, 10) for part in ("weight", "bias")]
saved = {name: np.full(2, at, dtype=np.float32) for at, name in enumerate(names)}
save_file(saved, sys.argv[1])
loaded = load_file(sys.argv[1])
print("saved", *saved)
print("loaded", *loaded)
assert all((loaded[name] == saved[name]).all() for name in names)
assert list(loaded) == sorted(names) != names
with safe_open(sys.argv[1], framework="numpy") as file:
    assert list(file.keys()) == sorted(names)
assert not np.array_equal(np.concatenate(list(loaded.values())), np.concatenate(list(saved.values())))
END
