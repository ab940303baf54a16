"""`zoo_builder.specification.models`, under the path that architectures of one's own import."""

from zoo_builder.specification.models import *  # noqa: F403
