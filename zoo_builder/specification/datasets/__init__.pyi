from .dataset import LOSSES as LOSSES, MASKED as MASKED, Dataset as Dataset, Kind as Kind, load_dataset as load_dataset
from .spec import DatasetSpec as DatasetSpec
from .raw import MASKED as MASKED, Kind as Kind, Secrets as Secrets
