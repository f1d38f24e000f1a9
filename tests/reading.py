"""Small files for tests of readers, and what a reader says about them."""

import json

import pytest
from hypothesis import HealthCheck, settings

from mtl.errors import DataError, DataWarning


@pytest.fixture
def file(tmp_path):
    """Write a small file, bytes or text, and give its path."""

    def write(content, name="data.conll"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


tmp_path_shared = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def faults_of(read, path, **options):
    """The faults of a file that cannot be read; the message says the place of each."""
    with pytest.raises(DataError) as caught:
        read(path, **options)
    faults = caught.value.faults
    for fault in faults:
        assert fault.path == str(path)
        assert fault.fix
        assert (f"{path}:{fault.line}: " if fault.line else f"{path}: ") in str(caught.value)
    return faults


def only_fault_of(read, path, **options):
    (fault,) = faults_of(read, path, **options)
    return fault


CONTEXT = "Rosa sells honey. Luis sells cheese. Rosa is late."


def qa(id="q1", question="Who is late?", text="Rosa", start=37, **more):
    answers = [{"text": text, "answer_start": start}]
    return {"id": id, "question": question, "answers": answers, **more}


def squad(*qas, context=CONTEXT, **more):
    paragraphs = [{"context": context, "qas": list(qas)}]
    return json.dumps({"data": [{"title": "Market", "paragraphs": paragraphs}], **more}, indent=1)


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def notes_of(read, path, **options):
    """The examples of a file, and what the reader says about it without the path."""
    with pytest.warns(DataWarning) as warned:
        examples = read(path, **options)
    assert {warning.filename for warning in warned} == {__file__}
    return examples, [str(warning.message).removeprefix(f"{path}: ") for warning in warned]
