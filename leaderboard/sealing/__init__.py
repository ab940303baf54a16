"""Sealed zoos: landscapes that everybody can answer for, and labels that nobody has but the maintainers.

In comes a zoo that nobody has seen; out go its public part, its labels under lock and key, answers to the one and scores by
the other.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
