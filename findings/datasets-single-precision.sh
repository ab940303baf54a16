#!/usr/bin/env bash
# datasets 5.2.0: with_format("numpy") and with_format("torch") turn columns in double precision into single precision, though
# features still say float64. What is larger than 3.4e38 becomes infinite. A column of whole numbers becomes single precision
# too where one of them is null, so that 16777217 becomes 16777216.
# A reader expects the numbers that the table holds, as to_pandas() gives them; dtype= of with_format gives them too.
# Seen: float64 [0.3333333333333333, 1e+300] becomes float32 [0.3333333432674408, inf]
#       int64 [16777217, None] becomes float32 [16777216.0, nan]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet datasets==5.2.0 numpy==2.4.6
HF_HOME="$folder" "$folder/venv/bin/python" -W ignore - <<'END'
import numpy as np
from datasets import Dataset

table = Dataset.from_dict({"real": [1 / 3, 1e300], "whole": [2**24 + 1, None]})
assert str(table.features["real"].dtype) == "float64"
assert str(table.features["whole"].dtype) == "int64"
found = {name: table.with_format("numpy")[name][:] for name in ("real", "whole")}
for name, values in found.items():
    print(table.features[name].dtype, table[name][:], "becomes", values.dtype, values.tolist())
    assert values.dtype == np.float32
assert np.isinf(found["real"][1])
assert found["whole"][0] == 2**24
assert table.to_pandas()["real"].tolist() == [1 / 3, 1e300]
assert table.with_format("numpy", dtype=np.float64)["real"][:].tolist() == [1 / 3, 1e300]
END
