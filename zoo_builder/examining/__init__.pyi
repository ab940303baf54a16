from .asked import given as given, of_zoo as of_zoo
from .diagnosis import diagnose as diagnose
