"""Streams read from files: what each format means, and errors that name the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workloads.conftest import Write
from workloads.errors import TraceError, WorkloadError
from workloads.requests import Requests, build_requests


def read(seed: int = 0, **options: Any) -> Requests:
    return Requests.concat(list(build_requests(options).chunks(np.random.default_rng(seed))))


def test_csv(write: Write) -> None:
    path = write("mine.csv.gz", "arrival_s,prompt_tokens,user,output_tokens\n0.5,10,a,3\n2,20,b,1\n")
    got = read(name="csv", path=path)
    assert got.arrival_s.tolist() == [0.5, 2.0]
    assert got.prompt_tokens.tolist() == [10, 20]
    assert got.output_tokens.tolist() == [3, 1]
    plain = read(name="csv", path=write("plain.csv", "arrival_s\n1\n1\n"))
    assert (plain.arrival_s.tolist(), plain.has_tokens) == ([1.0, 1.0], False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no requests: the file is empty"),
        ("arrival_s\n", "holds no requests: only a header line"),
        ("time\n1\n", ":1: column 'arrival_s': is not in the file (it has time)"),
        ("arrival_s\n1\nx\n", ":3: column 'arrival_s': 'x': is not a number"),
        ("arrival_s\n1\n\n2\n", ":3: column 'arrival_s': nan: is needed: when the request arrives"),
        ("arrival_s\n-1\n", ":2: column 'arrival_s': -1.0: must be 0 or more"),
        ("arrival_s\n1\n3\n2\n", ":4: column 'arrival_s': 2.0: must not be less than in the row above"),
        ("arrival_s,prompt_tokens\n1,2\n", "prompt_tokens and output_tokens go together"),
        ("arrival_s,prompt_tokens,output_tokens\n1,2,0\n", ":2: column 'output_tokens': 0.0: must be 1 or more"),
        ("arrival_s,prompt_tokens,output_tokens\n1,2.5,1\n", ":2: column 'prompt_tokens': 2.5: must be a whole number"),
        ("arrival_s,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
        ("arrival_s,b\n1,2,3\n1,2,3\n", ":2: has more fields than the 2 of the header"),
    ],
)
def test_csv_that_cant_be(write: Write, text: str, message: str) -> None:
    with pytest.raises(TraceError) as told:
        read(name="csv", path=write("bad.csv", text))
    assert message in str(told.value)
    assert "bad.csv" in str(told.value)


def test_a_path_that_isnt(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="no such file"):
        read(name="csv", path=str(tmp_path / "none.csv"))
    with pytest.raises(WorkloadError, match="is a folder"):
        read(name="csv", path=str(tmp_path))


def test_azure_llm_of_both_years(write: Write) -> None:
    rows = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
    )
    got = read(name="azure_llm", path=write("2023.csv", rows))
    assert got.arrival_s.tolist() == pytest.approx([0.0, 4.314579])
    assert (got.prompt_tokens.tolist(), got.output_tokens.tolist()) == ([374, 396], [44, 109])
    rows = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,5,1\n2024-05-10 00:00:01+00:00,9,0\n"
    )
    source = build_requests({"name": "azure_llm", "path": write("2024.csv", rows)})
    assert [len(chunk) for chunk in source.chunks(np.random.default_rng(0))] == [1]
    assert source.dropped == 1


def test_burstgpt(write: Write) -> None:
    rows = (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n"
        "45,GPT-4,10,0,10,API log\n118,GPT-4,20,5,25,API log\n"
    )
    path = write("burst.csv", rows)
    assert read(name="burstgpt", path=path).arrival_s.tolist() == [0.0, 113.0]
    assert read(name="burstgpt", path=path, model="GPT-4").prompt_tokens.tolist() == [20]
    with pytest.raises(WorkloadError, match="no request has Model=GPT-5; there are ChatGPT, GPT-4"):
        read(name="burstgpt", path=path, model="GPT-5")


def test_azure_functions(write: Write) -> None:
    rows = "HashOwner,HashApp,HashFunction,Trigger,1,2,3\na,b,f1,http,600,0,6000\na,b,f2,timer,1,1,1\n"
    path = write("functions.csv", rows)
    arrival_s = read(name="azure_functions", path=path, function="f1").arrival_s
    counts = np.bincount((arrival_s // 60).astype(int), minlength=3)
    assert counts[1] == 0
    assert counts[[0, 2]].tolist() == [pytest.approx(600, abs=125), pytest.approx(6000, abs=400)]
    assert len(read(name="azure_functions", path=path, trigger="timer", rate_scale=100.0)) == pytest.approx(300, abs=90)
    with pytest.raises(WorkloadError, match="no row has function=f3"):
        read(name="azure_functions", path=path, function="f3")


def test_prometheus(write: Write) -> None:
    series = [
        {"metric": {}, "values": [[100, "10"], [160, "0"], [220, "5"]]},
        {"metric": {}, "values": [[160, "20"], [220, "0"]]},
    ]
    export = {"status": "success", "data": {"resultType": "matrix", "result": series}}
    arrival_s = read(name="prometheus", path=write("range.json", json.dumps(export))).arrival_s
    counts = np.bincount((arrival_s // 60).astype(int))
    assert counts.tolist() == [pytest.approx(600, abs=125), pytest.approx(1200, abs=175)]
    counter = [{"values": [[0, "5"], [60, "605"], [120, "300"]]}]
    export = {"data": {"resultType": "matrix", "result": counter}}
    arrival_s = read(name="prometheus", path=write("counter.json", json.dumps(export)), kind="counter").arrival_s
    counts = np.bincount((arrival_s // 60).astype(int))
    assert counts.tolist() == [pytest.approx(600, abs=125), pytest.approx(300, abs=90)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", ":1: is no JSON"),
        ("[]", "must be a range export"),
        ('{"status": "error", "error": "bad query"}', "is the answer of a query that failed: bad query"),
        ('{"resultType": "matrix", "result": [{"values": [[0, "x"]]}]}', "must be pairs [time, value]"),
        ('{"resultType": "matrix", "result": [{"values": [[1, "1"], [0, "1"]]}]}', "must be in order of time"),
        ('{"resultType": "matrix", "result": [{"values": [[0, "-1"], [1, "1"]]}]}', "-1.0: must be 0 or more"),
    ],
)
def test_prometheus_that_cant_be(write: Write, text: str, message: str) -> None:
    with pytest.raises(TraceError) as told:
        read(name="prometheus", path=write("bad.json", text))
    assert message in str(told.value)
