"""The site, read as a browser would: links, what may run, what hostile entries become, and files for other programs."""

import hashlib
import json
import re
import threading
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from boards import fake_board, fake_entry
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sklearn.metrics import confusion_matrix

import mdbench
from leaderboard.ranking.ranking import Ranking
from leaderboard.ranking.standings import MARKDOWN, STANDINGS, Standings
from leaderboard.site import serve, site
from leaderboard.site.mistakes import mistakes
from leaderboard.site.pages import EXAMPLE, Pages
from leaderboard.site.site import MARKER, build
from leaderboard.site.template import embedded
from leaderboard.site.whisker import Scale
from mdbench.errors import MdbenchError
from mdbench.scoring.student import Interval

ASSETS = Path(site.__file__).parent / "assets"
NAME = "<script>alert(1)</script>"
HOSTILE = fake_entry(
    "hostile",
    name=NAME,
    authors=('"><img src=x onerror=alert(2)>', "O'Neill & {{ 7*7 }} </script><script>alert(3)</script>"),
    paper="javascript:alert(4)",
    families=('landscape"><b>',),
    supersedes="<i>old</i>",
)
SOURCE = '"""</script></pre><script>alert(5)</script>"""\nx = "<!--"  # ]]> \u2028 &lt;\nimport xgboost\n'


class Page(HTMLParser):
    """A page's elements with their attributes, its texts, and what stands in its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self._within = ""
        self.feed(text.replace("<wbr>", ""))  # where a line may end is no text
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._within = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._within = ""

    def handle_data(self, data):
        if self._within == "script":
            self.scripts[-1] += data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


@pytest.fixture(scope="module")
def board():
    return fake_board(14, hostile=[(HOSTILE, SOURCE)])


@pytest.fixture(scope="module")
def out(board, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "site"
    build(board, folder)
    return folder


@pytest.fixture(scope="module")
def pages(out):
    return {path.relative_to(out).as_posix(): Page(path.read_text("utf-8")) for path in out.rglob("*.html")}


def test_there_is_a_page_for_every_case_entry_and_zoo(board, pages):
    expected = {f"cases/{case}.html" for case in board.exam.posed} | {f"methods/{slug}.html" for slug in board.rows}
    expected |= {f"zoos/{name}.html" for name in ("mnist1d-cnn", "fashion-cnn", "mnist1d-mlp")}
    expected |= {f"{name}.html" for name in ("index", "cases", "zoos", "sealed", "history", "submit")}
    assert set(pages) == expected


def test_links_lead_somewhere_and_nowhere_else(out, pages):
    outside = set()
    for name, page in pages.items():
        ids = {attributes.get("id") for _, attributes in page.elements}
        for tag, attributes in page.elements:
            for key in ("href", "src", "data", "action", "srcset", "poster"):
                if key not in attributes:
                    continue
                parts = urlsplit(attributes[key])
                if parts.scheme or parts.netloc:
                    assert (tag, key) == ("a", "href"), (name, attributes)
                    assert attributes["rel"] == "noopener nofollow ugc"
                    outside.add(attributes[key])
                elif parts.path:
                    assert not parts.path.startswith("/"), "a project page lies under a path of its own"
                    target = (out / name).parent / unquote(parts.path)
                    assert target.resolve().is_relative_to(out.resolve())
                    assert target.is_file(), (name, attributes[key])
                else:
                    assert parts.fragment in ids, (name, attributes[key])
    assert outside == {"https://proceedings.mlr.press/v235/"}


def test_nothing_else_is_asked_for(out, pages):
    for name, page in pages.items():
        metas = [attributes for tag, attributes in page.elements if tag == "meta"]
        (policy,) = (a["content"] for a in metas if a.get("http-equiv") == "Content-Security-Policy")
        said = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert said["default-src"] == "'none'"
        assert said["script-src"] == said["style-src"] == "'self'"
        assert "unsafe" not in policy
        for tag, attributes in page.elements:
            assert tag not in ("style", "iframe", "object", "embed", "base")
            assert not [key for key in attributes if key.startswith("on") or key == "style"], (name, tag, attributes)
            if tag == "script" and "src" not in attributes:
                assert attributes["type"] == "application/json"
    for sheet in (out / "assets").rglob("*.css"):
        assert not re.search(r"@import|url\((?!['\"]?data:)", sheet.read_text("utf-8")), sheet


def test_a_method_is_reproduced_with_the_extras_that_it_needs(pages):
    assert 'pip install --editable ".[leaderboard,xgboost]"' in pages["methods/hostile.html"].text
    assert 'pip install --editable ".[leaderboard]"' in pages["methods/md-tree.html"].text


def test_what_somebody_wrote_is_text(pages, board):
    page = pages["methods/hostile.html"]
    assert NAME in page.text
    assert all(author in page.text for author in HOSTILE.authors)
    assert SOURCE.strip() in "".join(page.texts)
    for name, other in pages.items():
        tags = [tag for tag, _ in other.elements]
        assert "img" not in tags, name
        assert not [text for text in other.scripts if "alert(" in text and not text.startswith("{")], name
        assert [a["type"] for t, a in other.elements if t == "script" and "src" not in a] == ["application/json"] * len(
            [text for text in other.scripts if text]
        )
    (found,) = (json.loads(text) for text in pages["index.html"].scripts if text)
    (entry,) = (one for one in found["entries"] if one["slug"] == "hostile")
    assert (entry["name"], entry["authors"]) == (NAME, ", ".join(HOSTILE.authors))
    assert not [a for t, a in page.elements if t == "a" and str(a.get("href", "")).startswith("javascript")]
    assert "<b>by heart</b>" in pages["history.html"].text


@given(st.text() | st.lists(st.text(alphabet="<>&/!-\u2028\u2029script'\"\\")))
def test_embedded_data_stay_what_they_are_and_end_no_script(data):
    text = str(embedded(data))
    assert json.loads(text) == data
    assert not set(text) & set("<>&\u2028\u2029")


def test_the_table_needs_no_script(board, pages):
    """What stands in the page before any script runs: the headline, its places, and who has none."""
    text = " ".join(pages["index.html"].text.split())
    for place in board.views[0].places:
        interval = f"{place.score:.1f} [{place.interval.low:.1f}, {place.interval.high:.1f}]"
        assert f"{board.rows[place.slug].entry.name} " in text
        assert interval in text
    assert "answers 3 of 9" in text


def test_p_of_each_pair_stands_on_the_page_of_a_method_with_the_correction_and_without(board):
    view = board.views[0]
    slugs = tuple(place.slug for place in view.places)
    alone = np.full((len(slugs), len(slugs)), 0.03)
    nothing = np.zeros(len(slugs))
    found = Ranking(slugs, nothing, [], nothing, alone, 5 * alone, nothing, (), nothing, nothing)
    shown = replace(board, views=(replace(view, ranking=found), *board.views[1:]))
    text = next(text for name, text in Pages(shown) if name == f"methods/{slugs[0]}.html")
    said = " ".join(Page(text).text.split())
    for slug in slugs[1:]:
        assert f"{board.rows[slug].entry.name} 0.030 0.150 no" in said
    assert "p of these two alone p corrected Told apart" in said


def test_how_sure_a_method_is_stands_on_its_page(board, pages):
    run = next(slug for slug, row in board.rows.items() if row.verdict.run)
    said = " ".join(pages[f"methods/{run}.html"].text.split())
    for text in (
        "Log loss 0.612 nats",
        "Brier score 0.401",
        "7.3 points",
        "Surer half 81.6 % right",
        "12.5 % of the networks",
    ):
        assert text in said
    without = next(slug for slug, row in board.rows.items() if not row.verdict.run)
    assert "How sure it is" not in pages[f"methods/{without}.html"].text


def test_controls_and_the_secret_stand_on_the_page_and_what_they_say_on_the_board(board, pages):
    run = next(slug for slug, row in board.rows.items() if row.verdict.run)
    text = pages[f"methods/{run}.html"].text
    for said in ("71.2", "70.5", "49.0", "training labels exchanged", board.rows[run].verdict.run.secret):
        assert said in text
    flagged = sum(bool(row.flags) for row in board.rows.values())
    assert flagged >= 2
    assert pages["index.html"].text.count("knows these rows?") == flagged
    plain = next(slug for slug, row in board.rows.items() if not row.verdict.run)
    assert "training labels exchanged" not in pages[f"methods/{plain}.html"].text


def test_what_was_not_run_stands_below_without_a_place(board, pages):
    others = [slug for slug, row in board.rows.items() if not row.ranked]
    assert others
    assert not {place.slug for view in board.views for place in view.places} & set(others)
    assert pages["index.html"].text.count("not run here") >= len(others)
    assert all("It was not run here, so that it has no place" in pages[f"methods/{slug}.html"].text for slug in others)


def test_the_head_of_the_ledger_stands_on_every_page_and_in_the_standings(board, out, pages):
    assert board.head.number == len(board.events)
    for name, page in pages.items():
        titles = {attributes.get("title") for _, attributes in page.elements}
        assert f"SHA-256 {board.head.sha256}" in titles, name
    assert board.head.sha256 in pages["history.html"].text
    said = json.loads((out / STANDINGS).read_text("utf-8"))["ledger"]
    assert said == {"number": board.head.number, "sha256": board.head.sha256}


def test_dates_are_those_of_the_board(board, pages):
    """An entry may say of itself that it was made long ago: in the table stands when it came on the board."""
    row = next(iter(board.rows.values()))
    assert f"{row.entry.created:%Y-%m-%d}" != f"{row.accepted_on:%Y-%m-%d}"
    assert f"{row.entry.created:%Y-%m-%d}" not in pages["index.html"].text
    assert f"{row.accepted_on:%Y-%m-%d}" in pages["index.html"].text
    assert "What it says of itself" in pages[f"methods/{row.entry.slug}.html"].text


def test_the_standings_are_those_of_the_board(board, out):
    found = Standings.model_validate_json((out / STANDINGS).read_bytes())
    assert [entry.slug for entry in found.entries] == list(board.rows)
    assert found.entries[0].scores.keys() == board.rows[found.entries[0].slug].scores.keys()
    for entry in found.entries:
        for case, score in entry.scores.items():
            assert score.accuracy == pytest.approx(board.rows[entry.slug].scores[case].accuracy, abs=1e-4)
    for ranking, view in zip(found.rankings, board.views, strict=True):
        assert (ranking.selection, ranking.task, ranking.scenario) == (view.selection, view.task, view.scenario)
        assert [(s.slug, s.place, s.groups) for s in ranking.places] == [
            (p.slug, p.place, p.groups) for p in view.places
        ]
    assert found.exam_sha256 == board.exam.digest
    assert [place.slug for place in found.sealed[0].places] == [place.slug for place in board.sealed[0].places]


def test_the_markdown_table_is_the_headline(board, out):
    text = (out / MARKDOWN).read_text()
    tokens = [t.content for t in MarkdownIt("commonmark").enable("table").parse(text) if t.type == "inline"]
    cells = tokens[tokens.index("verdict") + 1 :]
    rows = [cells[at : at + 9] for at in range(0, len(cells), 9)]
    assert [row[0] for row in rows] == [str(place.place) for place in board.views[0].places]
    assert [row[1] for row in rows] == [f"`{board.rows[place.slug].entry.name}`" for place in board.views[0].places]
    assert [row[2] for row in rows] == [f"{place.score:.1f}" for place in board.views[0].places]
    # Before it, the sealed zoos.
    assert tokens[1:3] == ["Sealed zoo winter", "Tasks: optimizer, width_vs_optimizer. Nobody but the maintainers has its labels, "
        "which were asked 1234 times."]  # fmt: skip
    sealed = tokens[tokens.index("accuracy, %") + 1 : tokens.index("Public zoos")]
    expected = [board.entries[place.slug].name for place in board.sealed[0].places]
    assert sealed[1::5] == [*(f"`{name}`" for name in expected[:-1]), f"`{expected[-1]}` (superseded)"]
    space = (out / "README.md").read_text()
    assert space.startswith("---\n")
    assert "sdk: static" in space
    assert (out / ".nojekyll").is_file()


@pytest.mark.parametrize("leads", ["all", "unseen"])
def test_every_method_with_a_place_says_so_on_its_page(leads):
    """Also where zoos that nobody trained on are never averaged with others, so that no view is over all scenarios."""
    bare = fake_board(3)
    views = [replace(view, scenario=leads if view.scenario == "all" else view.scenario) for view in bare.views]
    pages = dict(Pages(replace(bare, views=views)))
    first = views[0]
    for place in first.places:
        text = pages[f"methods/{place.slug}.html"]
        assert "answers no ranking" not in text
        link = f"index.html#selection={first.selection}&amp;task={first.task}&amp;scenario={leads}"
        row = re.search(rf"<tr>(?:(?!</tr>).)*{re.escape(link)}.*?</tr>", text, re.DOTALL)
        assert f"<b>{place.place}</b> of {len(first.places)}" in row[0]


def test_the_board_leads_with_sealed_zoos_and_says_how_often_they_were_asked(board, pages):
    index, sealed = (" ".join(pages[name].text.split()) for name in ("index.html", "sealed.html"))
    assert index.index("Sealed zoos whose labels nobody has") < index.index("Public zoos whose labels can be")
    assert "Asked 1,234 times." in index
    assert (
        "The labels of winter were asked 1,234 times in all; by author: Ada Lovelace 1,200 , Emmy Noether 34" in sealed
    )
    assert "md_tree_old superseded" in sealed
    assert "md_tree_old superseded" in index
    bare = fake_board(3)
    text = dict(Pages(replace(bare, sealed=[])))["index.html"]
    assert "Public zoos" not in text


def test_the_same_board_gives_the_same_bytes(board, out, tmp_path):
    build(board, tmp_path / "again")
    first, again = (
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (out, tmp_path / "again")
    )
    assert first == again


def test_a_board_without_entries_is_a_site(tmp_path):
    build(fake_board(0), tmp_path / "site")
    index = Page((tmp_path / "site" / "index.html").read_text())
    assert "There are no entries yet." in index.text
    assert Standings.model_validate_json((tmp_path / "site" / STANDINGS).read_bytes()).entries == ()
    assert "No entries yet" in (tmp_path / "site" / MARKDOWN).read_text()


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years")
    (tmp_path / "file").write_text("mine")
    for name in ("thesis", "file"):
        with pytest.raises(MdbenchError, match="is not a site of the leaderboard; move it away"):
            build(fake_board(0), tmp_path / name)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "thesis"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, MdbenchError])
def test_a_build_that_stops_leaves_the_site_that_was_there(tmp_path, monkeypatch, failure):
    out = tmp_path / "deep" / "site"
    build(fake_board(0), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def stops(self):
        yield "index.html", "half"
        raise failure("in the middle")

    monkeypatch.setattr(Pages, "__iter__", stops)
    with pytest.raises(failure):
        build(fake_board(3), out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert list(out.parent.iterdir()) == [out]


def test_of_a_link_what_it_points_to_is_replaced(tmp_path):
    real, link = tmp_path / "disk" / "site", tmp_path / "link"
    build(fake_board(1), real)
    link.symlink_to(real)
    (real / "index.html").write_text("old")
    build(fake_board(1), link)
    assert link.is_symlink()
    assert (real / "index.html").read_text() != "old"
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "link"}
    # One that leads to somebody's folder is refused.
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("mine")
    (tmp_path / "other").symlink_to(tmp_path / "home")
    with pytest.raises(MdbenchError, match="is not a site"):
        build(fake_board(1), tmp_path / "other")


def test_a_new_build_replaces_the_old(tmp_path):
    build(fake_board(3), tmp_path / "site")
    build(fake_board(0), tmp_path / "site")
    assert not (tmp_path / "site" / "methods").exists()
    assert (tmp_path / "site" / MARKER).is_file()


def test_a_folder_that_cannot_be_written_is_an_error_of_ours(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MdbenchError, match="cannot write the site"):
        build(fake_board(0), tmp_path / "file" / "site")


def test_mistakes_are_those_of_the_predictions(board):
    """Against scikit-learn's confusion matrix and pandas' pivot table."""
    for name in ("mnist1d-cnn/failure_source/cross-noise/20", "mnist1d-cnn-to-fashion-cnn/optimizer/cross-dataset/20"):
        posed = board.exam.posed[name]
        slugs = [slug for slug, row in board.rows.items() if name in row.predicted][:3]
        predicted = np.stack([board.rows[slug].predicted[name] for slug in slugs])
        predicted[0, 0, 0] = -1  # no verdict at all
        found = mistakes(posed, predicted)
        labels = range(len(posed.rows.task.classes))
        for at in range(len(slugs)):
            truth = np.tile(posed.rows.test.codes, 5)
            np.testing.assert_array_equal(
                found.confusion[at], confusion_matrix(truth, predicted[at].ravel(), labels=labels)
            )
            table = posed.rows.test.table.assign(wrong=100 * (predicted[at] != posed.rows.test.codes).mean(axis=0))
            expected = table.pivot_table(index="batch_size", columns="width", values="wrong", aggfunc="mean")
            assert (list(found.down), list(found.across)) == (expected.index.tolist(), expected.columns.tolist())
            shares = np.where(found.shares[at] < 0, np.nan, found.shares[at])
            np.testing.assert_allclose(shares, expected, atol=0.5 + 1e-9)


def test_a_grid_point_without_test_rows_has_no_share(board):
    posed = board.exam.posed["mnist1d-cnn/optimizer/cross-noise/20"]
    rows = posed.rows.test
    gone = ((rows.table["width"] == 6) & (rows.table["batch_size"] == 12)).to_numpy()
    assert gone.any()
    thinned = replace(posed, rows=replace(posed.rows, test=rows.only(~gone)))
    found = mistakes(thinned, np.tile(thinned.rows.test.codes, (1, 1, 1)))
    assert found.shares[0, 0, 0] == -1
    whole = mistakes(posed, np.tile(rows.codes, (1, 1, 1)))
    assert whole.shares[0, 0, 0] == 0
    np.testing.assert_array_equal(found.shares[0].ravel()[1:], whole.shares[0].ravel()[1:])


def test_a_whisker_is_to_scale():
    scale = Scale.over([Interval(43.2, 61.0), Interval(55.0, 78.9)])
    assert (scale.low, scale.high) == (40, 80)
    drawn = str(scale.draw(60.0, Interval(50.0, 70.0), mark=80.0))
    low, high = map(float, re.search(r"M([\d.]+) 7H([\d.]+)", drawn).groups())
    middle = float(re.search(r'cx="([\d.]+)"', drawn).group(1))
    mark = float(re.search(r'class="mark" d="M([\d.]+)', drawn).group(1))
    assert middle == pytest.approx((low + high) / 2)
    assert high - low == pytest.approx(mark - middle), "20 points either way"
    assert (Scale.over([]).low, Scale.over([]).high) == (0, 100)
    assert Scale.over([Interval(100, 100)]).low < 100


def test_colours_can_be_read_on_their_ground():
    """WCAG 2.1: a contrast of 4.5 for text, in both themes."""

    def luminance(colour):
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    sheet = (ASSETS / "style.css").read_text()
    colours = {name: pair for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", sheet)}
    texts = ("ink", "soft", "accent", "blue", "green", "orange", "vermilion", "purple")
    grounds = [(text, ground) for text in texts for ground in ("paper", "raised")] + [("vermilion", "vermilion-wash")]
    for text, ground in grounds:
        for theme in (0, 1):
            light, dark = sorted((luminance(colours[name][theme]) for name in (text, ground)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground, theme)


def test_what_others_made_is_as_they_made_it():
    folder = ASSETS / "vendor"
    said = dict(re.findall(r"\| `([\w.-]+)` \|.*\| `([0-9a-f]{64})` \|", (folder / "VENDORED.md").read_text()))
    there = {path.name for path in folder.iterdir() if path.suffix in (".js", ".css")}
    assert set(said) == there
    for name, digest in said.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2.5e6
    assert {path.name for path in folder.glob("LICENSE-*.txt")} == {
        f"LICENSE-{name}.txt" for name in ("tabulator", "vega", "vega-lite", "vega-embed", "within")
    }


def test_the_example_on_submitting_is_a_method(method_file):
    result = mdbench.evaluate(method_file(EXAMPLE), "mnist1d-cnn/optimizer/cross-noise/20")
    assert not result.failures
    assert result.scores[0].accuracy > 0


def test_it_is_shown_on_this_machine_alone(out):
    with serve.serving(out) as server:
        assert server.server_address[0] == "127.0.0.1"
        running = threading.Thread(target=server.serve_forever)
        running.start()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/methods/md-tree.html") as answer:
                assert answer.read() == (out / "methods" / "md-tree.html").read_bytes()
        finally:
            server.shutdown()
            running.join()


def test_a_port_in_use_is_said(out):
    with (
        serve.serving(out) as server,
        pytest.raises(MdbenchError, match=rf"port {server.server_port} of 127.0.0.1 cannot be opened: .*--port"),
        serve.serving(out, server.server_port),
    ):
        pass


def test_the_commands_draw_what_was_assembled(tmp_path, monkeypatch, capsys):
    asked = []

    def assembled(entries, exam=None, as_of=None):
        asked.append((entries, as_of))
        return fake_board(2)

    monkeypatch.setattr(site, "assemble", assembled)
    monkeypatch.setattr(serve, "assemble", assembled)
    site.command(out=tmp_path / "site", as_of=datetime(2026, 11, 1, tzinfo=UTC), entries=tmp_path / "entries")
    assert asked == [(tmp_path / "entries", datetime(2026, 11, 1, tzinfo=UTC))]
    assert capsys.readouterr().out == f"{tmp_path / 'site' / 'index.html'}: 2 entries, 12 cases, as of 2026-11-20\n"

    shown = []

    def stopped(server):
        with_it = (Path(server.RequestHandlerClass.keywords["directory"]) / "index.html").is_file()
        shown.append((server.server_port, with_it))
        raise KeyboardInterrupt

    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", stopped)
    serve.command(entries=tmp_path / "entries", port=0)
    ((port, with_it),) = shown
    assert with_it
    assert capsys.readouterr().out.startswith(f"http://127.0.0.1:{port}/")
