from .asked import given as given, of_zoo as of_zoo
from .diagnosis import check_folder as check_folder, diagnose as diagnose
