"""Files go in; checked examples come out, and go back into files of any form.

`read` finds from the content which form a file is in (`detect`): columns (`columns`, with `blocks`,
`layout`, `sentences`, `schemes`), JSON (`json_forms`, `records`, `squad`, `pairs`), tables
(`tables`, with `table`, `cells`), folders of parallel files (`parallel`). Those of a large file are
read in passes over it (`large`). `write` goes the other way.

A reader looks at the whole file before it complains: every fault is collected, with its line and
what to do about it, and all are raised together. With `on_error="skip"` the bad records are left
out instead, and a `DataWarning` says how many.
"""

from .columns import read_conll, read_words
from .detect import Examples, Form, detect, read
from .folders import file_to_score, files_of
from .json_forms import as_examples
from .pairs import read_pairs
from .records import read_jsonl
from .source import LeftOutWarning, SoundDataError, only_set, read_text, short
from .squad import read_squad
from .write import (
    WRITERS,
    write_conll,
    write_conllu,
    write_examples,
    write_jsonl,
    write_squad,
)

__all__ = [
    "WRITERS",
    "Examples",
    "Form",
    "LeftOutWarning",
    "SoundDataError",
    "as_examples",
    "detect",
    "file_to_score",
    "files_of",
    "only_set",
    "read",
    "read_conll",
    "read_jsonl",
    "read_pairs",
    "read_squad",
    "read_text",
    "read_words",
    "short",
    "write_conll",
    "write_conllu",
    "write_examples",
    "write_jsonl",
    "write_squad",
]
