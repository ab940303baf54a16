"""What an entry may be called, and what stands in entry.json."""

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
from dishonest import honest, read, small_exam
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from leaderboard.entry.entry import (
    Entry,
    Link,
    Slug,
    check_name,
    check_text,
    json_schema,
    sealed_file,
    skeleton,
    slug_of,
    unseen,
)

ROOT = Path(__file__).resolve().parent.parent
NAMES = st.text("abcXYZ019 _+.()-", min_size=1, max_size=80)


@given(NAMES, st.integers(1, 999_999))
def test_a_slug_is_one_whatever_the_name(name, number):
    slug = slug_of(name, number)
    if any(sign.isalnum() for sign in name):
        TypeAdapter(Slug).validate_python(slug)
        assert slug.endswith(f"-{number}") or number == 1
    else:
        assert slug in ("", f"-{number}")


@pytest.mark.parametrize(
    ("name", "slug"),
    [("MD tree", "md-tree"), ("MD-Tree (v2.1)", "md-tree-v2-1"), ("  a__b  ", "a-b"), ("x" * 80, "x" * 60)],
)
def test_slugs(name, slug):
    assert slug_of(name) == slug


def test_a_long_name_has_room_for_its_number():
    assert slug_of("x" * 80, 12) == "x" * 57 + "-12"
    assert slug_of("x" * 57 + " yz", 12) == "x" * 57 + "-12"


@pytest.mark.parametrize(
    "alike",
    [
        ("MD tree", "md-tree", "MDTREE", "M.D. tree", "MD  tree"),
        ("Oil", "0il", "O1L", "oiI", "oll"),
        ("S1mple", "5lmple", "SImple"),
        ("corner", "comer"),
        ("vvide", "wide"),
        ("a+b", "a-b", "ab"),
        ("MD Tree", "MD Tr3e", "MD 7ree", "MD Tre3"),
        ("Nearest", "N3arest", "Ne4rest"),
        ("Bagging", "8aggin6"),
    ],
)
def test_names_that_look_alike_have_one_skeleton(alike):
    assert len({skeleton(name) for name in alike}) == 1


@pytest.mark.parametrize(
    "names",
    [("Tree 2", "Tree 3"), ("ResNet 18", "ResNet 34"), ("abc", "abd"), ("MD tree", "MD trees"), ("a 22", "a 2")],
)
def test_names_that_do_not_have_not(names):
    assert len({skeleton(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    "name",
    ["MD Tree (verified)", "MD Tree Ver1fied", "Self reported tree", "The official tree", "unREJECTED", "Re-pro-duced"],
)
def test_a_name_does_not_say_what_the_board_says(name):
    with pytest.raises(ValueError, match="is a word of the board"):
        check_name(name)


@given(NAMES)
def test_a_skeleton_has_neither_case_nor_signs(name):
    assert skeleton(f"a{name}".upper()) == skeleton(f"a{name}".lower()) == skeleton(f"A ({name})")


@given(st.text(max_size=80))
def test_a_name_that_passes_is_ascii_and_can_be_seen(name):
    try:
        assert check_name(name) == name
    except ValueError:
        return
    assert name.isascii()
    assert name.isprintable()
    assert name == name.strip()
    assert slug_of(name)


@given(st.text(max_size=80))
def test_a_text_that_passes_can_be_seen(text):
    try:
        assert check_text(text) == text
    except ValueError:
        return
    assert all(sign.isprintable() or sign.isspace() for sign in text)
    assert not any(sign in text for sign in "\n\r\t\0\u200b\u202e\u2066\ufeff")


def test_nothing_that_unicode_says_is_not_to_be_shown_can_be_in_a_text():
    # By another list than ours: Perl's, of the whole of Unicode.
    perl = shutil.which("perl")
    if perl is None:
        pytest.skip("Perl, which knows Unicode's properties, is not here")
    asked = r'print join(",", grep { chr($_) =~ /\p{Default_Ignorable_Code_Point}/ } 0x80..0xD7FF, 0xE000..0x10FFFF)'
    said = subprocess.run([perl, "-e", f"no warnings; {asked}"], capture_output=True, check=True, text=True).stdout
    signs = [chr(int(number)) for number in said.split(",")]
    assert len(signs) > 4000
    assert unseen("".join(signs)) == set(signs)
    assert not unseen("Ada Lovelace, Erdős Pál, 王小明, ＡＢＣ, 한글, é, हिन्दी, ✓")


@pytest.mark.parametrize("text", ["Ada Lovelace", "Erdős Pál", "王小明", "Łukasz", "O'Brien", "<script>"])
def test_people_are_called_what_they_are_called(text):
    assert check_text(text) == text


@pytest.mark.parametrize("link", ["https://arxiv.org/abs/2406.12345", "https://example.org:8080/a?b=c#d", "https://a"])
def test_links(link):
    assert TypeAdapter(Link).validate_python(link) == link


@pytest.mark.parametrize(
    "link",
    [
        "http://example.org",
        "javascript:alert(1)",
        "https://",
        "https://a b",
        "https://user@example.org/",
        "https://example.org/\n",
        "https://exämple.org",
        "HTTPS://example.org",
        "data:text/html,x",
        "//example.org",
        "https://example.org" + "/a" * 200,
    ],
)
def test_what_is_no_link(link):
    with pytest.raises(ValidationError):
        TypeAdapter(Link).validate_python(link)


def test_the_published_schema_is_this_one_and_an_entry_fits_it(tmp_path):
    published = json.loads((ROOT / "docs" / "entry.schema.json").read_text())
    assert published == json.loads(json_schema()), "run: python -m leaderboard.entry.entry > docs/entry.schema.json"
    entry = read(honest(tmp_path, small_exam(tmp_path / "zoos")))
    jsonschema.validate(entry, published)
    jsonschema.validate(json.loads(Entry.model_validate(entry).model_dump_json()), published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(entry | {"scores": {}}, published)


def test_what_is_written_is_read(tmp_path):
    entry = Entry.model_validate(read(honest(tmp_path, small_exam(tmp_path / "zoos"))))
    assert Entry.model_validate_json(entry.model_dump_json()) == entry
    with pytest.raises(ValidationError):
        entry.name = "Another"


def test_an_entry_of_the_first_format_stays_readable():
    old = ROOT / "tests" / "data" / "entry-format-1.json"
    assert Entry.model_validate_json(old.read_text()).format == 1


def test_files_of_sealed_zoos():
    assert sealed_file("winter-2026") == "sealed-winter-2026.parquet"
