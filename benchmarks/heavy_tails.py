"""The spectrum of a two-layer network that learns a single direction by ten large steps of full-batch gradient descent.

    python benchmarks/heavy_tails.py [--rates 2000] [--seeds 2]

The setting of Kothapalli et al., From spikes to heavy tails (2024): 1,500 hidden units, 1,000 dimensions, 2,000
examples, targets softplus(β·x) with noise of 0.3, the first layer trained alone. Their finding is that one step puts an
eigenvalue outside of the bulk, and ten make the tail heavy. Printed is what the table `trajectory` says of the first
layer's weights: how many eigenvalues are spikes, the largest one over the edge of the bulk, and the exponent of the
tail by maximum likelihood, from where it fits best on. Beside it stands that of the package powerlaw, by which the
exponents of the literature are found.
"""

import argparse

import powerlaw
import torch

from zoo_builder.landscape.kept import trajectory
from zoo_builder.specification.material import Material
from zoo_builder.specification.network import initialised, networks
from zoo_builder.specification.spec import parse_spec
from zoo_builder.training.trainer import train

SPEC = """
name = "heavy-tails"
seeds = {seeds}
[dataset]
name = "teacher"
options = {{ dimension = 1000, noise = 0.3 }}
[architecture]
name = "two_layer"
width = 1500
[training]
full_batch = true
momentum = 0
weight_decay = 0
schedule = "constant"
steps = 10
keep = [0, 1, 2, 5, 10]
[[axes]]
knob = "learning_rate"
values = {rates}
"""
#: By itself powerlaw 2.0.0 finds no exponent above 3 (findings/powerlaw-exponents-up-to-three.sh).
ANY = {"alpha": [1, 1e6]}


def main() -> None:
    """Train, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[2000.0], help="learning rates")
    parser.add_argument("--seeds", type=int, default=2, help="networks at each")
    asked = parser.parse_args()
    text = SPEC.format(seeds=list(range(asked.seeds)), rates=sorted(set(asked.rates)))
    spec = parse_spec(text, "the benchmark")
    material = Material.of_spec(spec)
    dataset, subsets = material.first
    print(f"{'network':30}{'step':>5}{'spikes':>8}{'largest / edge':>16}{'exponent':>10}{'powerlaw':>10}")
    for one in networks(spec, material):
        (trained,) = train(spec, dataset, subsets, [one])
        kept = {}
        for step, state in trained.kept.items():
            kept[step] = initialised(spec, dataset, one)
            kept[step].load_state_dict(state)
        for row in trajectory(kept).itertuples():
            over = 10**row.log_spectral_norm / row.bulk_edge
            weight = dict(kept[row.step].named_parameters())[f"{row.layer}.weight"].detach().double()
            eigenvalues = torch.linalg.svdvals(weight).square().numpy()
            theirs = powerlaw.Fit(eigenvalues, verbose=0, parameter_ranges=ANY).alpha
            print(f"{one.name:30}{row.step:5}{row.mp_spikes:8.0f}{over:16.2f}{row.alpha:10.2f}{theirs:10.2f}")
        print(f"{'':30}relative test error {trained.test_error:.1f} %")


if __name__ == "__main__":
    main()
