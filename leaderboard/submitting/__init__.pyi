from . import submission as submission
