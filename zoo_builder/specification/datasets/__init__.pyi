from .dataset import LOSSES as LOSSES, Dataset as Dataset, load_dataset as load_dataset
from .equations import Informed as Informed
from .raw import MASKED as MASKED, Kind as Kind
from .spec import DatasetSpec as DatasetSpec
