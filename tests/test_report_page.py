"""The report of a diagnosis, as a page and as Markdown: what it says of one network and of several, of answers and of hints."""

import platform
import re

import pytest
import torch
from test_diagnose import ANSWER, PLOT
from torch import nn

from mdbench.diagnosing import headline, markdown
from mdbench.diagnosing.diagnosis import Diagnosis, Layer
from zoo_builder.examining import diagnose, diagnosis
from zoo_builder.examining.forecast import Forecast
from zoo_builder.examining.page import page

LAYER = Layer(
    layer="0", rows=9, columns=9, exponent=2.0, minus_fresh=-1.0, trained=None, rate=1.0, pruned=0.5, experts=5
)
HINT = ANSWER.model_copy(
    update={
        "task": "width_vs_optimizer",
        "probabilities": {"width": 0.8, "optimizer": 0.2},
        "likeliest": "width",
        "answered": False,
        "why_not": "no method has told them apart",
        "coordinates": ("log_loss", "exponent"),
    }
)


def found(*verdicts, checkpoints=1, **more):
    """Return a diagnosis of a few lines."""
    return Diagnosis(
        checkpoints=checkpoints, parameters=5, extent="quick", verdicts=verdicts, measured={}, reasons={}, **more
    )


def texts(one):
    """Return both forms of the report, without marks of the page."""
    return re.sub(r"<[^>]+>", "", page(one, ())), markdown(one).replace("`", "")


def test_of_a_hint_no_line_is_drawn_and_no_share_of_answers_said():
    drawn = page(found(ANSWER), ())
    assert drawn.count('<line class="mark"') == len(ANSWER.probabilities)
    assert '<line class="mark"' not in page(found(HINT), ())
    for text in texts(found(ANSWER)):
        assert "answered 90 %" in text
    for text in texts(found(HINT)):
        assert "answered" not in text
        assert "what was said as a hint was right 90 % [80, 100] (7 zoos)" in text


def test_the_numbers_that_were_looked_at_are_named():
    for text in texts(found(ANSWER, HINT)):
        said = text.split("What was looked at")[1].replace("_", " ")
        assert re.search(r"^optimizer: log loss\.$", said, re.M)
        assert re.search(r"^width vs optimizer: log loss, exponent\.$", said, re.M)
        assert "docs/methods.md" in said


@pytest.mark.parametrize(("checkpoints", "there"), [(1, 0), (2, 1)])
def test_what_is_of_the_first_network_says_so(checkpoints, there):
    for text in texts(found(ANSWER, checkpoints=checkpoints, layers=(LAYER,))):
        assert text.count("Layer by layer of the first network") == there


def test_notes_are_sentences_under_a_heading_of_theirs():
    drawn = page(found(ANSWER, notes=("the first", "x is 3.")), ())
    assert re.search(r"<h2>Notes</h2>\s*<p>The first\. X is 3\.</p>", drawn)
    assert "- The first.\n- X is 3.\n" in markdown(found(ANSWER, notes=("the first", "x is 3.")))
    assert "<h2>Notes</h2>" not in page(found(ANSWER), ())


def test_what_comes_back_is_short_in_a_terminal_and_says_what_it_was_made_by(monkeypatch):
    monkeypatch.setattr(diagnosis, "verdicts_of", lambda *_, **__: (ANSWER,))
    monkeypatch.setattr(diagnosis, "phase", lambda *_: PLOT)
    torch.manual_seed(0)
    data = torch.randn(60, 3), torch.arange(60) % 2
    told = diagnose(nn.Linear(3, 2), train=data, test=data, extent="quick")
    for text in (repr(told), str(told)):
        assert headline(told.diagnosis) in text
        assert ".report(" in text
        assert len(text) < 500
    made = told.diagnosis.versions
    assert (made["Python"], made["torch"]) == (platform.python_version(), torch.__version__)
    assert next(iter(made)) == "mdbench"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.001, "about 0.1 s"), (0.24, "about 0.2 s"), (5, "about 5 s"), (130, "about 2 min")]
)
def test_what_measuring_takes_is_about_a_time(seconds, said):
    text = str(Forecast({"hessian": seconds}, seconds, 10**9))
    assert text == f"measuring takes {said} (hessian {said.removeprefix('about ')}), and 1.0 GB of memory"
