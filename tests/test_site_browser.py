"""The site in a real browser, as its readers have it: by mouse and by keyboard, light and dark, on a phone, without JavaScript."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest
from boards import fake_board, two_selections
from test_site import HOSTILE, NAME, SOURCE

from leaderboard.ranking import LEVEL
from leaderboard.ranking.ranking import letters
from leaderboard.site.serve import serving
from leaderboard.site.site import build
from mdbench.scoring import Interval
from mdbench.scoring.stats import holm

pytest.importorskip("selenium")
from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="chromium and chromedriver are not installed: the pages were not looked at in a browser",
)
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1400,1000"),
)
PATIENCE = 20
#: A page of every kind.
KINDS = (
    *(f"{name}.html" for name in ("index", "cases", "zoos", "sealed", "history", "submit")),
    *("zoos/mnist1d-cnn.html", "methods/hostile.html", "cases/mnist1d-cnn/optimizer/cross-noise/20.html"),
)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def board():
    return fake_board(14, two_selections(), hostile=[(HOSTILE, SOURCE)])


@pytest.fixture(scope="module")
def folder(board, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "site"
    build(board, out)
    return out


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    """Where the site is, under a path of its own as a project page is."""
    with serving(folder.parent) as server:
        running = threading.Thread(target=server.serve_forever)
        running.start()
        yield f"http://127.0.0.1:{server.server_port}/{folder.name}/"
        server.shutdown()
        running.join()


@pytest.fixture
def browser(chromium) -> Iterator[webdriver.Chrome]:
    """The browser as it is at first; a test that leaves an error on its console has failed."""
    chromium.get("about:blank")
    look(chromium)
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    yield chromium
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    chromium.execute_script("try { localStorage.clear() } catch {}")
    assert [line for line in chromium.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []


def look(driver, *, width: int = 1400, dark: bool = False) -> None:
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def until(driver, what):
    return WebDriverWait(driver, PATIENCE, poll_frequency=0.02).until(lambda _: what())


def show(driver, address: str) -> None:
    driver.get(address)
    until(driver, lambda: driver.execute_script("return !document.querySelector('[data-figure]:not([data-ready])')"))
    if "index.html" in address or address.endswith("/"):
        until(driver, lambda: driver.execute_script("return !!document.querySelector('.tabulator-row')"))


def cells(driver, field: str) -> list[str]:
    """Return what stands in a column; of names, the link alone, without a tag beside it."""
    script = (
        "return [...document.querySelectorAll(`.tabulator-row [tabulator-field=${arguments[0]}]`)]"
        ".map(c => ((arguments[0] === 'name' && c.querySelector('a')) || c).innerText)"
    )
    return driver.execute_script(script, field)


def header(driver, field: str):
    return driver.find_element(By.CSS_SELECTOR, f".tabulator-col[tabulator-field={field}]")


def ranking(board, task: str = "published", selection: str = "core"):
    (view,) = (v for v in board.views if (v.selection, v.task, v.scenario) == (selection, task, "all"))
    return view


def names(board, places) -> list[str]:
    return [board.rows[place.slug].entry.name for place in places]


def without_place(board, view) -> list[str]:
    places = {place.slug for place in view.places}
    return [row.entry.name for slug, row in board.rows.items() if slug not in places]


def test_the_board_is_in_the_order_of_its_places(browser, address, board):
    show(browser, address)
    view = ranking(board)
    placed = names(board, view.places)
    assert cells(browser, "name")[: len(placed)] == placed
    assert cells(browser, "order")[: len(placed)] == [str(place.place) for place in view.places]
    first = view.places[0]
    said = f"{first.score:.1f} [{first.interval.low:.1f}, {first.interval.high:.1f}]"
    assert cells(browser, "score")[0] == said
    unplaced = cells(browser, "name")[len(placed) :]
    assert sorted(unplaced) == sorted(without_place(board, view))
    said = {
        row.entry.name: f"answers {sum(case in row.scores for case in view.cases)} of 9"
        if row.ranked
        else "not run here"
        for row in board.rows.values()
    }
    assert cells(browser, "score")[len(placed) :] == [said[name] for name in unplaced]
    assert {"answers 3 of 9", "not run here"} == {said[name] for name in unplaced}
    assert set(cells(browser, "order")[len(placed) :]) == {"–"}


def test_columns_sort_by_mouse_both_ways_and_entries_without_a_place_stay_below(browser, address, board):
    show(browser, address)
    placed, unplaced = names(board, ranking(board).places), sorted(without_place(board, ranking(board)))
    header(browser, "score").click()
    assert cells(browser, "name")[: len(placed)] == placed
    assert header(browser, "score").get_attribute("aria-sort") == "descending"
    header(browser, "score").click()
    assert cells(browser, "name")[: len(placed)] == placed[::-1]
    assert sorted(cells(browser, "name")[len(placed) :]) == unplaced
    assert header(browser, "score").get_attribute("aria-sort") == "ascending"
    header(browser, "date").click()
    assert cells(browser, "date") == sorted(cells(browser, "date"), reverse=True)


def test_columns_sort_by_keyboard(browser, address, board):
    show(browser, address)
    browser.find_element(By.NAME, "verified").send_keys(Keys.TAB, Keys.TAB)  # past the button to the first header
    for _ in range(3):
        browser.switch_to.active_element.send_keys(Keys.TAB)
    focused = browser.switch_to.active_element
    assert focused.get_attribute("tabulator-field") == "rank"
    assert browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    focused.send_keys(Keys.ENTER)
    assert focused.get_attribute("aria-sort") == "ascending"
    focused.send_keys(Keys.SPACE)
    assert focused.get_attribute("aria-sort") == "descending"
    placed = names(board, ranking(board).places)
    assert cells(browser, "name")[: len(placed)] == placed[::-1]


def test_the_first_key_leads_past_the_head(browser, address):
    show(browser, address)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.tag_name == "main"


def test_filters_leave_what_fits(browser, address, board):
    show(browser, address)
    by_name = {row.entry.name: row for row in board.rows.values()}

    def choose(name: str, value: str) -> None:
        Select(browser.find_element(By.NAME, name)).select_by_value(value)

    choose("track", "transductive")
    assert cells(browser, "name") == ["md_tree_quantile"]
    choose("track", "not trained")
    assert cells(browser, "name") == ["barrier_rule"]
    choose("track", "")
    choose("sees", "configuration")
    assert set(cells(browser, "name")) == {n for n, row in by_name.items() if "configuration" in row.entry.families}
    choose("sees", "nothing")
    assert {"majority"} <= set(cells(browser, "name"))
    choose("sees", "")
    browser.find_element(By.NAME, "verified").click()
    sure = {n for n, row in by_name.items() if row.verdict.outcome != "self-reported"}
    assert set(cells(browser, "name")) == sure
    assert f"{len(sure)} of {len(by_name)} entries" in until(
        browser, lambda: "of" in (said := browser.find_element(By.ID, "said").text) and said
    )
    browser.find_element(By.CSS_SELECTOR, "button[type=reset]").click()
    assert set(cells(browser, "name")) == set(by_name)
    assert urlsplit(browser.current_url).fragment == ""


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("count", [1, 2, 9, 40])
def test_the_browser_gives_the_letters_that_the_board_gives(browser, address, share, count):
    show(browser, address)
    p = np.random.default_rng([count, int(100 * share)]).random(count * (count - 1) // 2).round(6) / (count / share)
    apart = np.zeros((count, count), dtype=bool)
    apart[np.triu_indices(count, 1)] = holm(p) <= LEVEL
    script = "const g = mdbenchGroups; return [g.holm(arguments[0]), g.letters(arguments[1])]"
    corrected, found = browser.execute_script(script, p.tolist(), (apart | apart.T).tolist())
    assert corrected == pytest.approx(holm(p).tolist(), rel=1e-12)
    assert found == list(letters(apart | apart.T))


def test_groups_of_a_choice_are_those_among_it(browser, address, board):
    show(browser, address)
    view = ranking(board)
    assert cells(browser, "groups")[: len(view.places)] == [place.groups for place in view.places]
    browser.find_element(By.NAME, "q").send_keys("tree")
    shown = [at for at, name in enumerate(names(board, view.places)) if "tree" in name]
    assert 2 < len(shown) < len(view.places)
    alone = view.alone[np.ix_(shown, shown)]
    one, other = np.triu_indices(len(shown), 1)
    apart = np.zeros_like(alone, dtype=bool)
    apart[one, other] = apart[other, one] = holm(alone[one, other]) <= LEVEL
    until(browser, lambda: cells(browser, "groups")[: len(shown)] == list(letters(apart)))
    assert "Groups are those of what is shown." in until(
        browser, lambda: "Groups" in (said := browser.find_element(By.ID, "said").text) and said
    )
    browser.find_element(By.CSS_SELECTOR, "button[type=reset]").click()
    until(browser, lambda: cells(browser, "groups")[: len(view.places)] == [place.groups for place in view.places])


def test_each_is_tested_against_the_one_that_a_reader_chooses(browser, address, board):
    show(browser, address)
    view = ranking(board)
    reference = 2
    Select(browser.find_element(By.NAME, "against")).select_by_value(view.places[reference].slug)
    others = [at for at in range(len(view.places)) if at != reference]
    p = dict(zip(others, holm(view.alone[reference, others]), strict=True))

    def expected(at: int) -> str:
        if at == reference:
            return "itself"
        better = view.places[at].score - view.places[reference].score
        chance = "p < 0.001" if p[at] < 0.001 else f"p = {p[at]:.3f}"
        return f"{'−' if better < 0 else '+'}{abs(better):.1f} {chance}"

    found = until(browser, lambda: "itself" in (there := cells(browser, "better")) and there)
    assert [text.replace("\n", " ") for text in found[: len(view.places)]] == [*map(expected, range(len(view.places)))]
    assert set(found[len(view.places) :]) <= {"–"}
    until(browser, lambda: f"against={view.places[reference].slug}" in browser.current_url)
    link = browser.current_url
    show(browser, f"{address}cases.html")
    show(browser, link)
    assert until(browser, lambda: "itself" in (there := cells(browser, "better")) and there) == found
    header(browser, "better").click()
    assert cells(browser, "name")[0] == names(board, view.places)[0]
    browser.find_element(By.NAME, "q").send_keys(board.rows[view.places[5].slug].entry.name)
    alone = view.alone[reference, 5]  # of one there is nothing to correct
    last = f"p = {alone:.3f}" if alone >= 0.001 else "p < 0.001"
    until(browser, lambda: [text.split("p")[1] for text in cells(browser, "better")[:1]] == [last[1:]])


def test_search_takes_names_and_authors(browser, address, board):
    show(browser, address)
    search = browser.find_element(By.NAME, "q")
    search.send_keys("TREE noether")
    expected = {
        row.entry.name
        for row in board.rows.values()
        if "tree" in row.entry.name and "noether" in " ".join(row.entry.authors).lower()
    }
    assert set(cells(browser, "name")) == expected
    search.send_keys("zzz")
    assert cells(browser, "name") == []
    assert "No entry fits" in browser.find_element(By.ID, "board").text


def test_another_ranking_has_other_numbers(browser, address, board):
    show(browser, address)
    Select(browser.find_element(By.NAME, "task")).select_by_value("failure_source")
    view = ranking(board, "failure_source")
    assert until(browser, lambda: "answers 0 of 3" in (found := cells(browser, "score")) and found)[0].startswith(
        f"{view.places[0].score:.1f}"
    )
    assert cells(browser, "name")[: len(view.places)] == names(board, view.places)
    Select(browser.find_element(By.NAME, "selection")).select_by_value("bundled")
    # That selection asks one task; what it has is shown instead.
    (first, *_) = (v for v in board.views if v.selection == "bundled")
    until(browser, lambda: cells(browser, "score")[0].startswith(f"{first.places[0].score:.1f}"))
    assert "mean over 2 cases" in browser.find_element(By.ID, "said").text


def test_a_link_brings_back_what_was_shown(browser, address, board):
    show(browser, address)
    Select(browser.find_element(By.NAME, "task")).select_by_value("optimizer")
    browser.find_element(By.NAME, "q").send_keys("tree")
    browser.find_element(By.NAME, "verified").click()
    header(browser, "rank").click()
    header(browser, "rank").click()
    until(browser, lambda: "sort=rank%3Adesc" in browser.current_url)
    link, shown = browser.current_url, cells(browser, "name")
    assert len(shown) > 2
    browser.get("about:blank")
    show(browser, link)
    assert until(browser, lambda: cells(browser, "name") == shown)
    assert Select(browser.find_element(By.NAME, "task")).first_selected_option.get_attribute("value") == "optimizer"
    assert browser.find_element(By.NAME, "q").get_attribute("value") == "tree"
    assert browser.find_element(By.NAME, "verified").is_selected()
    assert header(browser, "rank").get_attribute("aria-sort") == "descending"
    browser.execute_script("location.hash = 'task=data_vs_optimizer&q=md_tree&task=__proto__&sort=nonsense'")
    view = ranking(board, "data_vs_optimizer")
    placed, unplaced = (
        [n for n in some if "md_tree" in n] for some in (names(board, view.places), without_place(board, view))
    )
    until(
        browser,
        lambda: (
            (found := cells(browser, "name"))[: len(placed)] == placed
            and sorted(found[len(placed) :]) == sorted(unplaced)
        ),
    )


def test_links_lead_to_pages(browser, address, board):
    show(browser, address)
    browser.find_element(By.LINK_TEXT, "md_tree").click()
    until(browser, lambda: browser.current_url.endswith("/methods/md-tree.html"))
    assert browser.find_element(By.TAG_NAME, "h1").text == "md_tree"
    browser.find_element(By.LINK_TEXT, "mnist1d-cnn/optimizer/cross-noise/20").click()
    until(browser, lambda: browser.current_url.endswith("/cases/mnist1d-cnn/optimizer/cross-noise/20.html"))
    browser.find_element(By.LINK_TEXT, "Board").click()
    until(browser, lambda: cells(browser, "name"))


def ground(driver) -> str:
    return driver.execute_script("return getComputedStyle(document.documentElement).backgroundColor")


def test_both_themes_and_a_choice_that_is_remembered(browser, address):
    figure = "return getComputedStyle(document.querySelector('[data-figure=phase] .role-axis-label text')).fill"
    show(browser, f"{address}zoos/mnist1d-cnn.html")
    light, light_text = ground(browser), browser.execute_script(figure)
    look(browser, dark=True)
    dark = ground(browser)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(19, 22, 27)")
    until(browser, lambda: browser.execute_script(figure) != light_text)
    button = browser.find_element(By.ID, "theme")
    assert button.text.endswith("System")
    button.click()
    assert button.text.endswith("Light")
    assert ground(browser) == light
    show(browser, address)
    assert ground(browser) == light
    browser.find_element(By.ID, "theme").click()
    look(browser)
    assert ground(browser) == dark


def test_nothing_is_wider_than_a_phone(browser, address):
    look(browser, width=400)
    for page in KINDS:
        show(browser, address + page)
        wide, room = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert (page, wide) == (page, 400)
        assert room == 400


@pytest.mark.parametrize("width", [1400, 500, 400])
def test_nothing_is_cut_or_lies_on_something_else(browser, address, board, width):
    """Arrows lie on no title; names, intervals, families and authors are whole, and names end their lines between words."""
    method = f"methods/{next(iter(board.rows))}.html"
    look(browser, width=width)
    show(browser, address + "index.html")
    over = browser.execute_script(
        "return [...document.querySelectorAll('.tabulator-col')].filter(head => {"
        "const arrow = head.querySelector('.tabulator-arrow')?.getBoundingClientRect();"
        "const text = document.createRange(); text.selectNodeContents(head.querySelector('.tabulator-col-title'));"
        "return arrow && [...text.getClientRects()].some(r => r.right > arrow.left && r.left < arrow.right"
        " && r.bottom > arrow.top && r.top < arrow.bottom) }).map(head => head.innerText)"
    )
    assert over == []
    cut = browser.execute_script(
        "return [...document.querySelectorAll('.tabulator-row:not(:has(a[href*=hostile])) [tabulator-field]')].filter(cell =>"
        "['name', 'score', 'rank', 'authors', 'sees', 'date', 'verdict'].includes(cell.getAttribute('tabulator-field')) && "
        "[cell, ...cell.querySelectorAll('.name, .two, .score, .wrap, .tabulator-col-title')].some(box =>"
        " box.scrollWidth > box.clientWidth + 1 && box.clientWidth || box.scrollHeight > box.clientHeight + 2 && box.clientHeight))"
        ".map(cell => cell.innerText)"
    )
    assert cut == []
    if width == 1400:  # and nothing has to be scrolled to, with scrollbars of the page and of the table
        wide, room = browser.execute_script(
            "const one = document.querySelector('.tabulator-tableholder'); return [one.scrollWidth, one.clientWidth]"
        )
        assert wide <= room
        taken = browser.execute_script(
            "return [...document.querySelectorAll('.tabulator-col')].reduce((sum, head) => sum + ("
            "['name', 'authors'].includes(head.getAttribute('tabulator-field'))"
            " ? parseFloat(getComputedStyle(head).minWidth) : head.offsetWidth), 0)"
        )
        assert taken <= room - 15
    for page in ("index.html", "cases.html", "cases/mnist1d-cnn/optimizer/cross-noise/20.html", method):
        show(browser, address + page)
        broken = browser.execute_script(
            "const found = [];"
            "for (const link of document.querySelectorAll('td.name a, td.code a, .tabulator-row a.name:not([href*=hostile])')) {"
            " for (const node of link.childNodes) { if (node.nodeType !== 3 || !node.data.trim()) continue;"
            "  const part = document.createRange(); part.selectNodeContents(node);"
            "  const tops = new Set([...part.getClientRects()].map(r => Math.round(r.top)));"
            "  if (tops.size > 1 && !link.href.includes('hostile')) found.push(link.innerText); } }"
            "return found"
        )
        assert (page, broken) == (page, [])


@pytest.mark.parametrize("width", [500, 400])
def test_no_interval_of_a_method_has_to_be_scrolled_to(browser, address, board, width):
    look(browser, width=width)
    for slug in board.rows:
        show(browser, f"{address}methods/{slug}.html")
        ends = browser.execute_script(
            "return [...document.querySelectorAll('.interval')].map(one => one.getBoundingClientRect().right)"
        )
        assert ends
        assert max(ends) <= width


def test_a_hostile_entry_is_text_and_nothing_happens(browser, address):
    for page in (
        "index.html",
        "methods/hostile.html",
        "cases/mnist1d-cnn/optimizer/cross-noise/20.html",
        "history.html",
    ):
        show(browser, address + page)
        assert NAME in browser.find_element(By.TAG_NAME, "main").text
        assert browser.find_elements(By.TAG_NAME, "img") == []
        with pytest.raises(NoAlertPresentException):
            browser.switch_to.alert  # noqa: B018 - looking is asking


def test_a_hostile_name_is_text_in_a_figure(browser, address):
    show(browser, f"{address}cases/mnist1d-cnn/optimizer/cross-noise/20.html")
    assert NAME in browser.find_element(By.CSS_SELECTOR, "[data-figure] svg").text
    points = browser.find_elements(By.CSS_SELECTOR, "[data-figure] .mark-symbol.role-mark path")
    (point, *_) = (one for one in points if NAME in one.get_attribute("aria-label"))
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    webdriver.ActionChains(browser).move_to_element(point).perform()
    tooltip = until(browser, lambda: browser.find_element(By.CSS_SELECTOR, "#vg-tooltip-element.visible"))
    assert NAME in tooltip.text
    assert tooltip.find_elements(By.CSS_SELECTOR, "script, img") == []


def test_the_figures_of_a_method_are_its_mistakes(browser, address, board):
    name = "mnist1d-cnn/failure_source/cross-noise/20"
    show(browser, f"{address}methods/xgboost.html")
    Select(browser.find_element(By.ID, "case-choice")).select_by_visible_text(name)
    posed, predicted = board.exam.posed[name], board.rows["xgboost"].predicted[name]
    truth, classes = posed.rows.test.codes, posed.rows.task.classes
    expected = [
        f"{100 * (predicted[:, truth == one] == other).mean():.0f}"
        for one in range(len(classes))
        for other in range(len(classes))
    ]
    texts = "return [...document.querySelectorAll('[data-figure=confusion] .mark-text.role-mark text')].map(t => t.textContent)"
    until(browser, lambda: len(browser.execute_script(texts)) == len(expected))
    assert browser.execute_script(texts) == expected
    shares = "return document.querySelectorAll('[data-figure=shares] .mark-rect.role-mark path').length"
    table = posed.rows.test.table
    assert browser.execute_script(shares) == len(table[["width", "batch_size"]].drop_duplicates())


def test_nobody_else_is_asked(browser, address):
    for page in KINDS:
        show(browser, address + page)
    here = urlsplit(address).netloc
    asked = set()
    for line in browser.get_log("performance"):
        message = json.loads(line["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    assert len(asked) > 15, "the log says what was asked for"
    assert {urlsplit(one).netloc for one in asked if not one.startswith(("data:", "about:"))} == {here}


def test_it_can_be_read_without_javascript(browser, address, board):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(address)
    lines = [row.text for row in browser.find_elements(By.CSS_SELECTOR, "#board tbody tr")]
    placed = ranking(board).places
    assert len(lines) == len(board.rows)
    for line, place in zip(lines, placed, strict=False):
        assert line.startswith(f"{place.place} {board.rows[place.slug].entry.name}")
        assert f"{place.score:.1f} [{place.interval.low:.1f}, {place.interval.high:.1f}]" in line
    assert not browser.find_element(By.ID, "controls").is_displayed(), "what does nothing is not shown"


def test_numbers_are_the_same_with_javascript_and_without(browser, board, tmp_path):
    """Numbers whose last digit falls another way where they are rounded twice, or where halves are rounded up."""
    hard = [82.25, 61.449, 33.75, 33.349, 12.25, 4.449, 0.0499, -0.25, -3.449]
    shares = [0.005, 0.015, 0.494999, 0.125]
    view = ranking(board)
    places = tuple(
        replace(
            place,
            score=score,
            interval=Interval(score - 8.5, score + 8.5),
            average_rank=1 + abs(score) / 10,
            first_over_rows=shares[at % 4],
            first_over_cases=shares[-1 - at % 4],
        )
        for at, (place, score) in enumerate(zip(view.places, hard, strict=False))
    )
    assert len(places) > 5
    views = tuple(replace(one, places=places) if one is view else one for one in board.views)
    build(replace(board, views=views), tmp_path / "site")
    page = (tmp_path / "site" / "index.html").as_uri()
    show(browser, page)
    drawn = [cells(browser, field)[: len(places)] for field in ("score", "rank", "overRows")]
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(page)
    rows = [row.find_elements(By.TAG_NAME, "td") for row in browser.find_elements(By.CSS_SELECTOR, "#board tbody tr")]
    assert [[row[at].text for row in rows[: len(places)]] for at in (3, 5, 7)] == drawn
    assert drawn[0][0].startswith("82.2 ["), "as Python writes it"
    assert drawn[0][1].startswith("61.4 [")


def test_it_works_from_a_disk(browser, folder):
    show(browser, (folder / "index.html").as_uri())
    assert len(cells(browser, "name")) == 15
    header(browser, "rank").click()
    until(browser, lambda: "sort=rank" in browser.current_url)
    show(browser, (folder / "zoos" / "mnist1d-cnn.html").as_uri())
    assert "temperature too high" in browser.find_element(By.CSS_SELECTOR, "[data-figure] svg").text
