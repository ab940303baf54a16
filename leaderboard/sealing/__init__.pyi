from . import seal as seal
from .answers import answer as answer, check_answers as check_answers
from .seal import KEY as KEY, PUBLIC as PUBLIC
from .sealed import Part as Part
from .sealed_score import SealedScore as SealedScore, score as score
