"""The questions that methods are asked.

In come ``cases.toml`` and zoos; out go a `Case` (task × zoos × scenario × budget) and its `CaseRows`: which rows train, once
a seed, and which are asked about.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
