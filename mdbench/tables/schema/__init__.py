"""Every column of a zoo table: name, unit, family, meaning, source. The one place that says what a column is.

Out go `COLUMNS`, name → `Column`, and who may see them. There is a file for each family of metrics, called as the file of
`zoo_builder.landscape` that measures it; a new column is an entry in one of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
