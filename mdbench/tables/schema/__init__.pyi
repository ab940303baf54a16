from .column import Column as Column, Family as Family, Need as Need
from .grid import knob_column as knob_column, level_text as level_text, same_level as same_level
from .registry import COLUMNS as COLUMNS, Kind as Kind, QUANTILE as QUANTILE, kind as kind, of_family as of_family
from .visibility import VISIBLE_FAMILIES as VISIBLE_FAMILIES, check_visible as check_visible
