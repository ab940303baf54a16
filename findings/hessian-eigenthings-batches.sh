#!/usr/bin/env bash
# hessian-eigenthings 1.0.0a5: with full_dataset=True, as by default, HessianOperator takes the mean over batches of the batches'
# Hessians, each counting once. Examples of a last batch that is smaller count for more, so that eigenvalues depend on the
# batch size.
# A reader expects the Hessian of the mean loss over all examples, whatever batches they come in.
# Seen: exact 2.0000, one batch 2.0000, batches of 9 and 1: 10.0000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6 hessian-eigenthings==1.0.0a5
"$folder/venv/bin/python" -W ignore - <<'END'
import torch
from hessian_eigenthings import HessianOperator, supervised_loss
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

# The Hessian of the mean of (w x - y)^2 is twice the mean of x^2: here 2 (9 · 0 + 10) / 10.
x = torch.zeros(10, 1)
x[-1] = 10**0.5
examples = TensorDataset(x, torch.zeros(10, 1))
network = nn.Linear(1, 1, bias=False)
found = {}
for size in (10, 9):
    operator = HessianOperator(network, DataLoader(examples, size), supervised_loss(nn.MSELoss()))
    found[size] = float(operator.matvec(torch.ones(1)))
exact = float(2 * x.square().mean())
print(f"exact {exact:.4f}, one batch {found[10]:.4f}, batches of 9 and 1: {found[9]:.4f}")
assert abs(found[10] - exact) < 1e-4
assert abs(found[9] - 5 * exact) < 1e-3
END
