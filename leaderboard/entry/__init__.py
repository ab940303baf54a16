"""What an entry is, and what can be seen of one without running it.

In comes a folder, which is hostile until every check has passed; out go an `Entry` and its predictions, joined by name to the
cases that the board asks (`Exam`), or a `Refused` that says why not.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
