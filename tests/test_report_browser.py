"""The report of a diagnosis in a real browser, on a phone."""

import test_site_browser
from test_diagnose import ANSWER
from test_report_page import LAYER, found
from test_site_browser import chromium, look  # noqa: F401 - a fixture

from zoo_builder.examining.page import page

pytestmark = test_site_browser.pytestmark
#: How many lines each share is on, and of each table that is wider than the page, whether its edges are shaded.
LINES = """return [...document.querySelectorAll('.bar span:last-child')].map(cell => {
  const text = document.createRange(); text.selectNodeContents(cell);
  return new Set([...text.getClientRects()].map(one => one.top)).size; })"""
SHADED = """return [...document.querySelectorAll('.wide')].filter(one => one.scrollWidth > one.clientWidth)
  .map(one => getComputedStyle(one).backgroundAttachment)"""


def test_a_phone_shows_a_share_on_a_line_and_where_a_table_goes_on(chromium, tmp_path):  # noqa: F811
    sure = ANSWER.model_copy(update={"probabilities": {"temperature_too_low": 1.0, "temperature_too_high": 0.0}})
    (tmp_path / "report.html").write_text(page(found(sure, layers=(LAYER,)), ()), encoding="utf-8")
    look(chromium, width=400)
    chromium.get((tmp_path / "report.html").as_uri())
    assert chromium.execute_script(LINES) == [1, 1]
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= 400
    (layers,) = chromium.execute_script(SHADED)
    assert set(layers.split(", ")) == {"local", "scroll"}, "covers move with the table, shadows stay"
