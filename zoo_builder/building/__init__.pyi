from . import builder as builder, executors as executors
from .builder import build as build, forecast as forecast, status as status
from .built import Built as Built, Source as Source
from .executors import OpenExecutor as OpenExecutor, devices as devices
from .measuring import measure as measure, open_subject as open_subject
from .pairs import Difference as Difference
from .portions import meant_in as meant_in, portion_of as portion_of
from .progress import Progress as Progress
from .store import MANIFEST as MANIFEST, SPEC as SPEC
from .tables import MEASURED as MEASURED, digest_of as digest_of
from .units import alone as alone, writing as writing
from .verification import Verification as Verification, shipped_zoos as shipped_zoos, verify as verify
