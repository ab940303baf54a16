#!/usr/bin/env bash
# torch_cka 0.21: compare(loader) draws the two networks' batches from two passes over the loader. Where that shuffles, as loaders
# of training data do, each network sees other examples, and the alignment of a network with its own copy is about 0.
# A reader expects 1, for one loader is given and the message says that it is used for both networks.
# Seen: in order 1.0000, shuffled -0.0068
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6 torch_cka==0.21 tqdm==4.70.1 matplotlib==3.11.2
MPLCONFIGDIR="$folder" "$folder/venv/bin/python" -W ignore - <<'END'
import copy

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch_cka import CKA

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5)).eval().requires_grad_(False)
examples = TensorDataset(torch.randn(512, 10), torch.zeros(512))
found = {}
for shuffle in (False, True):
    one = CKA(copy.deepcopy(network), copy.deepcopy(network), model1_layers=["2"], model2_layers=["2"], device="cpu")
    one.compare(DataLoader(examples, 64, shuffle=shuffle))
    found[shuffle] = float(one.export()["CKA"])
print(f"in order {found[False]:.4f}, shuffled {found[True]:.4f}")
assert abs(found[False] - 1) < 1e-4
assert abs(found[True]) < 0.2
END
