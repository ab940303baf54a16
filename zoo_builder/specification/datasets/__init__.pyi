from .dataset import LOSSES as LOSSES, Dataset as Dataset, load_dataset as load_dataset
from .spec import DatasetSpec as DatasetSpec
from .raw import MASKED as MASKED, Kind as Kind, Secrets as Secrets
