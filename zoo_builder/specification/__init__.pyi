from .axes import Point as Point, configuration_name as configuration_name
from .architecture import ARCHITECTURES as ARCHITECTURES
from .datasets import (
    LOSSES as LOSSES,
    MASKED as MASKED,
    Dataset as Dataset,
    Informed as Informed,
    Kind as Kind,
    load_dataset as load_dataset,
)
from .material import Material as Material
from .models import (
    Attention as Attention,
    Features as Features,
    Pinn as Pinn,
    parameter_count as parameter_count,
)
from .dropout import (
    Dropout as Dropout,
    dropouts as dropouts,
    mixed as mixed,
    stream as stream,
)
from .network import (
    Batches as Batches,
    Network as Network,
    Trained as Trained,
    initialised as initialised,
    learning_rates as learning_rates,
    module_at as module_at,
    networks as networks,
)
from .own import imported as imported, told as told
from .recipe import Augmentation as Augmentation, Layerwise as Layerwise, TrainingSpec as TrainingSpec
from .spec import (
    WORDS as WORDS,
    ZooSpec as ZooSpec,
    parse_spec as parse_spec,
    read_spec as read_spec,
)
from .trust import check_trust as check_trust
from .subsets import Subsets as Subsets
