from . import plots as plots, report as report
from .drawing import plot as plot
from .explanation import importance as importance, show_explanation as show_explanation
from .markdown import code as code, escape as escape, table as table
from .mistakes import show_mistakes as show_mistakes
from .plots import COLOURS as COLOURS, MARKERS as MARKERS, STYLE as STYLE, VERDICT_COLOURS as VERDICT_COLOURS
from .report import say as say, show_checks as show_checks, show_failures as show_failures
from .tabulation import tabulate as tabulate
