from .answering import verdicts_of as verdicts_of
from .diagnosis import Diagnosis as Diagnosis, Layer as Layer, Verdict as Verdict
from .judge import known as known
from .moves import experiment as experiment, moves_of as moves_of
from .pool import bundled_pool as bundled_pool
from .said import (
    COORDINATES_SAID as COORDINATES_SAID,
    LAYERS_SAID as LAYERS_SAID,
    WORDS as WORDS,
    bin_of as bin_of,
    headline as headline,
    looked_at as looked_at,
    markdown as markdown,
    of_which as of_which,
    reliable as reliable,
    sentence as sentence,
    threshold_of as threshold_of,
)
from .standing import Standing as Standing, nearest as nearest, outside as outside, phase as phase
