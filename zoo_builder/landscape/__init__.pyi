from . import (
    connectivity as connectivity,
    figures as figures,
    hessian as hessian,
    matrices as matrices,
    prunability as prunability,
    registry as registry,
    spectra as spectra,
    topology as topology,
)
from .budget import bytes_needed as bytes_needed, bytes_of as bytes_of
from .data import (
    Data as Data,
    check_classes as check_classes,
    check_positions as check_positions,
    class_numbers as class_numbers,
    named as named,
    of_each as of_each,
)
from .given import data_of as data_of, models_of as models_of
from .measurement import (
    Interrupted as Interrupted,
    Measurements as Measurements,
    configuration_table as configuration_table,
    gate as gate,
    joined_in_order as joined_in_order,
    joined_layers as joined_layers,
    layer_table as layer_table,
    measure as measure,
    network_table as network_table,
)
from .metric import Language as Language, Settings as Settings, Subject as Subject
from .module import called as called, main_output as main_output, plain_attention as plain_attention
from .objective import CrossEntropy as CrossEntropy, Objective as Objective, objective_of as objective_of
from .opening import fitting_surface as fitting_surface, own_outputs as own_outputs
from .kept import trajectory as trajectory
from .registry import FAMILIES as FAMILIES, Family as Family, chosen as chosen
