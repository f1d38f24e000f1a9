"""Files are written whole: by several processes at once, and when something goes wrong."""

import os
import stat
from pathlib import Path

import pytest
from processes import Process

from mtl.errors import DataError, ModelError
from mtl.files import read_json, write_atomically


def write_again_and_again(path, letter):
    for _ in range(40):
        write_atomically(path, letter * 200_000)
        content = path.read_text()
        assert content == content[0] * 200_000, (len(content), set(content))


def test_processes_that_write_one_file_do_not_mix_their_contents(tmp_path):
    path = tmp_path / "file.txt"
    for process in [Process(write_again_and_again, path, letter) for letter in "abcd"]:
        status, _, told = process.finish()
        assert status == 0, told
    assert os.listdir(tmp_path) == ["file.txt"]


def test_two_calls_use_two_temporary_files(tmp_path, monkeypatch):
    used = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (used.append(Path(a)), replace(a, b)))
    for _ in range(2):
        write_atomically(tmp_path / "file.txt", "content")
    assert len(set(used)) == 2
    assert {path.parent for path in used} == {tmp_path}  # a move within a folder is atomic


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, RuntimeError])
def test_when_it_is_stopped_the_old_file_stays_and_nothing_else(tmp_path, monkeypatch, error):
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def stop(*paths):
        raise error

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(error):
        write_atomically(path, "new")
    assert os.listdir(tmp_path) == ["file.txt"]
    assert path.read_text() == "old"


def test_what_cannot_be_written_is_a_data_error_and_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="the file cannot be written"):
        write_atomically(tmp_path / "folder", "content")  # a folder is in the way
    with pytest.raises(DataError, match="the file cannot be written"):
        write_atomically(tmp_path / "half.txt", "half a character: \ud800")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_permissions_are_those_of_any_new_file(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "ours", "content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == 0o666 & ~mask


def test_deeply_nested_json_is_a_broken_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"a": ' + "[" * 100_000)
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        read_json(path)
