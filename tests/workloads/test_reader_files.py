"""What every reader of files refuses, and what it says."""

from __future__ import annotations

import gzip
from dataclasses import fields
from pathlib import Path

import pytest

from workloads import SOURCES, TraceError, WorkloadError, source_class
from workloads.readers.files import near

READERS = sorted(set(SOURCES) - {"synthetic", "none"})
FILE_READERS = sorted(set(READERS) - {"pai", "kubeflow"})  # these take folders, and have tests of their own
GAVEL = {"throughputs": "unused.json"}


def options(reader):
    return GAVEL if reader == "gavel" else {}


@pytest.mark.parametrize("reader", READERS)
def test_a_missing_path_names_the_option(load, reader):
    with pytest.raises(WorkloadError, match=r"path is not set; give the file to read: workload\.path="):
        load(reader, **options(reader))


@pytest.mark.parametrize("reader", READERS)
def test_a_path_that_is_not_there(load, tmp_path, reader):
    with pytest.raises(WorkloadError, match=r"nowhere\.csv: no such file"):
        load(reader, path=str(tmp_path / "nowhere.csv"), **options(reader))


@pytest.mark.parametrize("reader", FILE_READERS)
def test_a_folder_where_a_file_is_due(load, tmp_path, reader):
    with pytest.raises(WorkloadError, match="is a folder; path must name a file"):
        load(reader, path=str(tmp_path), **options(reader))


def test_a_file_where_a_folder_is_due(load, write):
    with pytest.raises(WorkloadError, match="is a file; path must name the folder"):
        load("pai", path=write("x.csv", "1\n"))


@pytest.mark.parametrize("reader", FILE_READERS)
def test_an_empty_file_holds_no_jobs(load, write, reader):
    with pytest.raises(TraceError, match=r"empty\.csv: holds no jobs"):
        load(reader, path=write("empty.csv", "\n"), **options(reader))


@pytest.mark.parametrize("reader", FILE_READERS)
def test_a_git_lfs_pointer_says_what_to_do(load, write, reader):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    with pytest.raises(TraceError, match=r"is a git-LFS pointer, not the data: run `git lfs pull`"):
        load(reader, path=write("trace.csv", pointer), **options(reader))


@pytest.mark.parametrize("reader", ["csv", "swf", "philly"])
def test_a_cut_off_gzip_file(load, tmp_path, reader):
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(b"[submit_s,num_gpus,duration_s\n" * 50)[:-12])
    with pytest.raises(TraceError, match="is damaged or cut-off gzip"):
        load(reader, path=str(path))


def test_gzip_is_told_by_content_not_by_name(load, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_bytes(gzip.compress(b"submit_s,num_gpus,duration_s\n0,1,5\n"))
    assert len(load("csv", path=str(path)).jobs) == 1


def test_bytes_that_are_not_text_are_named_by_line(load, tmp_path):
    path = tmp_path / "trace.csv"
    path.write_bytes(b"submit_s,num_gpus,duration_s\n0,1,5\n0,\xff\xfe,5\n")
    with pytest.raises(TraceError, match=r"trace\.csv:3: column 'num_gpus': .*: is not UTF-8 text"):
        load("csv", path=str(path))
    path.write_bytes(b"; header\n1 2 \xff\n")
    with pytest.raises(TraceError, match=r"trace\.csv:2: .*is not UTF-8 text"):
        load("swf", path=str(path))


@pytest.mark.parametrize("reader", READERS)
def test_every_choice_of_words_is_checked(load, write, reader):
    """An option with a word as its default refuses another word, and says which there are."""
    path = write("trace.csv", "x\n1\n") if reader != "pai" else str(Path(write("x", "x")).parent)
    free = {"path", "timezone", "separator", "throughputs", "profiles", "gpu_type", "elastic_kind"}
    choices = [f.name for f in fields(source_class(reader)) if isinstance(f.default, str) and f.name not in free]
    for option in choices:
        with pytest.raises(WorkloadError, match=rf"{option}='wrong': must be one of "):
            load(reader, **{"path": path, option: "wrong"})


def test_the_nearest_names():
    assert near("Submit_Time", ["submit_time", "x"]) == "; did you mean 'submit_time'?"
    assert near("abc", ["xyz"]) == ""
