"""The data sets that a zoo is trained on.

In comes a `DatasetSpec`; out goes a `Dataset`: arrays, checked and standardised. There is a file for each kind of source.
"""

from zoo_builder.specification.datasets.dataset import Dataset as Dataset
from zoo_builder.specification.datasets.dataset import load_dataset as load_dataset
from zoo_builder.specification.datasets.spec import DatasetSpec as DatasetSpec
