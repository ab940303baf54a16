from . import seal as seal
from .answers import answer as answer, check_answers as check_answers
from .seal import KEY as KEY, PUBLIC as PUBLIC
from .sealed import Part as Part, Sealed as Sealed
from .sealed_score import SealedScore as SealedScore, score as score, unlock as unlock
from .shelf import sealed_zoos as sealed_zoos
