#!/usr/bin/env bash
# powerlaw 2.0.0: Fit(data) looks for exponents up to 3 alone, where no one asks it to. Numbers drawn from a power law of exponent 6
# are given one of 3, from a beginning of the tail that is far too late, and nothing is said; versions before 2 had no such bound.
# Exponents of weight matrices are 2 to 6 and more. With parameter_ranges={"alpha": [1, 1e6]} the fit finds them.
# Seen: by itself 3.00, with a wide range 5.98
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet powerlaw==2.0.0 numpy==2.4.6 scipy==1.17.1 matplotlib==3.11.2 mpmath==1.3.0
MPLCONFIGDIR="$folder" "$folder/venv/bin/python" -W ignore - <<'END'
import numpy as np
import powerlaw

numbers = (1 - np.random.default_rng(0).random(2000)) ** (-1 / 5)  # density x^-6 from 1 on
itself = powerlaw.Fit(numbers, verbose=0).power_law.alpha
free = powerlaw.Fit(numbers, verbose=0, parameter_ranges={"alpha": [1, 1e6]}).power_law.alpha
print(f"by itself {itself:.2f}, with a wide range {free:.2f}")
assert itself <= 3
assert abs(free - 6) < 0.3
END
