"""Zoos as a dataset, there and back.

In come the folders of zoos; out goes a dataset in a folder or on the Hugging Face Hub: tables, cases, card, networks. On the
way back its networks become modules again, after everything about them was checked.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
