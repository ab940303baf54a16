from . import plain_json as plain_json
from .checks import (
    Checked as Checked,
    check as check,
    check_among as check_among,
    check_method as check_method,
    check_requirements as check_requirements,
    families_of as families_of,
    line as line,
    read_entries as read_entries,
    read_entry as read_entry,
    requirement_lines as requirement_lines,
    resembling as resembling,
)
from .entry import (
    Dataset as Dataset,
    ENTRY as ENTRY,
    Entry as Entry,
    File as File,
    METHOD as METHOD,
    MOST_SEALED as MOST_SEALED,
    MethodFile as MethodFile,
    PREDICTIONS as PREDICTIONS,
    PREDICTION_COLUMNS as PREDICTION_COLUMNS,
    REQUIRED as REQUIRED,
    REQUIREMENTS as REQUIREMENTS,
    SELECTIONS as SELECTIONS,
    Sha256 as Sha256,
    Slug as Slug,
    Timings as Timings,
    check_text as check_text,
    sealed_file as sealed_file,
    slug_of as slug_of,
)
from .exam import Exam as Exam, PUBLISHED as PUBLISHED
from .refused import Refused as Refused
from .sheet import Sheet as Sheet, TEXTS as TEXTS, read_table as read_table, sheet_of as sheet_of
