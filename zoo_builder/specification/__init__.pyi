from .architecture import ARCHITECTURES as ARCHITECTURES
from .datasets import Dataset as Dataset, load_dataset as load_dataset
from .models import parameter_count as parameter_count
from .network import (
    Batches as Batches,
    Network as Network,
    Trained as Trained,
    initialised as initialised,
    learning_rates as learning_rates,
    networks as networks,
)
from .spec import (
    Point as Point,
    TrainingSpec as TrainingSpec,
    ZooSpec as ZooSpec,
    configuration_name as configuration_name,
    parse_spec as parse_spec,
    read_spec as read_spec,
)
from .subsets import Subsets as Subsets, draw_subsets as draw_subsets
