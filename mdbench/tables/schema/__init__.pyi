from .column import Column as Column, Family as Family, Need as Need
from .registry import COLUMNS as COLUMNS, Kind as Kind, QUANTILE as QUANTILE, kind as kind, of_family as of_family
from .visibility import VISIBLE_FAMILIES as VISIBLE_FAMILIES, check_visible as check_visible
