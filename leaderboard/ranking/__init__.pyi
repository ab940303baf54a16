from .board import (
    Board as Board,
    CaseScore as CaseScore,
    Place as Place,
    Row as Row,
    View as View,
    assemble as assemble,
    no_collection as no_collection,
)
from .standings import MARKDOWN as MARKDOWN, STANDINGS as STANDINGS, markdown as markdown, summarised as summarised
