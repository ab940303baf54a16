from .answering import verdicts_of as verdicts_of
from .diagnosis import Diagnosis as Diagnosis, Verdict as Verdict
from .said import headline as headline, markdown as markdown
