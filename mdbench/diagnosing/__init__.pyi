from .answering import verdicts_of as verdicts_of
from .diagnosis import Diagnosis as Diagnosis, Layer as Layer, Verdict as Verdict
from .judge import known as known
from .moves import experiment as experiment, moves_of as moves_of
from .pool import bundled_pool as bundled_pool
from .said import (
    LAYERS_SAID as LAYERS_SAID,
    WORDS as WORDS,
    bin_of as bin_of,
    headline as headline,
    markdown as markdown,
    reliable as reliable,
)
from .standing import Standing as Standing, nearest as nearest, outside as outside, phase as phase
