from .coordinates import columns_for as columns_for, coordinates_of as coordinates_of
from .dataset import DATA as DATA, bundled_zoos as bundled_zoos, dataset_path as dataset_path
from .labels import Move as Move, order_along as order_along
from .loading import (
    find_zoo as find_zoo,
    load_checkpoints as load_checkpoints,
    load_zoo as load_zoo,
    only_one as only_one,
    read_table as read_table,
    zoo_names as zoo_names,
)
from .manifest import (
    CHECKPOINTS as CHECKPOINTS,
    CONFIGURATIONS as CONFIGURATIONS,
    InputFile as InputFile,
    LAYERS as LAYERS,
    MANIFEST as MANIFEST,
    TRAJECTORY as TRAJECTORY,
    Provenance as Provenance,
    posed_tasks as posed_tasks,
    sha256_of as sha256_of,
    table_digests as table_digests,
)
from .noise import decided as decided
from .predicted import Predicted as Predicted
from .schema import (
    COLUMNS as COLUMNS,
    Family as Family,
    Need as Need,
    QUANTILE as QUANTILE,
    VISIBLE_FAMILIES as VISIBLE_FAMILIES,
    check_visible as check_visible,
    kind as kind,
    knob_column as knob_column,
    level_text as level_text,
    same_level as same_level,
)
from .tasks import NONE as NONE, TASKS as TASKS, Task as Task, find_task as find_task
from .zoo import Zoo as Zoo, is_single as is_single, single_precision as single_precision, write_tables as write_tables
