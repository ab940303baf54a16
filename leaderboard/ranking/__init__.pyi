from .board import (
    Board as Board,
    Row as Row,
    assemble as assemble,
    no_collection as no_collection,
)
from .places import COMPARED as COMPARED, CaseScore as CaseScore, Place as Place, View as View
from .ranking import LEVEL as LEVEL
from .standings import MARKDOWN as MARKDOWN, STANDINGS as STANDINGS, markdown as markdown, summarised as summarised
