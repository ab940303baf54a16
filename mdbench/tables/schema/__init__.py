"""Every column of a zoo table: name, unit, family, meaning, source. The one place that says what a column is.

Out go `COLUMNS`, name → `Column`, and who may see them. There is a file for each family of metrics, called as the file of
`zoo_builder.landscape` that measures it; a new column is an entry in one of them.
"""

from mdbench.tables.schema.column import Column as Column
from mdbench.tables.schema.column import Family as Family
from mdbench.tables.schema.column import Need as Need
from mdbench.tables.schema.registry import COLUMNS as COLUMNS
from mdbench.tables.schema.registry import QUANTILE as QUANTILE
from mdbench.tables.schema.registry import Kind as Kind
from mdbench.tables.schema.registry import kind as kind
from mdbench.tables.schema.registry import of_family as of_family
from mdbench.tables.schema.visibility import VISIBLE_FAMILIES as VISIBLE_FAMILIES
from mdbench.tables.schema.visibility import check_visible as check_visible
