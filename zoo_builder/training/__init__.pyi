from . import kernels as kernels, taped as taped
from .copies import copied as copied
from .costs import Cost as Cost, cost as cost
from .fitting import check_training as check_training
from .errors import error_of as error_of
from .graph import UnknownLayerError as UnknownLayerError, trace as trace
from .layerwise import balanced as balanced
from .losses import imported as imported
from .optimizers import Descent as Descent
from .program import Program as Program, program_of as program_of
from .tape import Memory as Memory, Tape as Tape
from .trainer import form as form, step_seconds as step_seconds, train as train
