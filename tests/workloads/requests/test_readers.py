"""Streams read from files: what each format means, and errors that name the place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workloads.conftest import Write
from workloads.errors import TraceError, WorkloadError
from workloads.requests import Requests, build_requests, files
from workloads.requests.counts import AzureFunctionsRequests, PrometheusRequests


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
        ("arrival_s,prompt_tokens,output_tokens\n1,-2,1\n", ":2: column 'prompt_tokens': -2.0: must be a whole number"),
        ("arrival_s,prompt_tokens,output_tokens\n1,,1\n", ":2: column 'prompt_tokens': nan: must be a whole number"),
        ("arrival_s,arrival_s\n1,2\n", ":1: column 'arrival_s': is there twice in the header"),
        ("arrival_s\ninf\n", ":2: column 'arrival_s': inf: is needed"),
        ("arrival_s,b\n1,2\n1,2,3\n", "Expected 2 fields in line 3, saw 3"),
        ("arrival_s,b\n1,2,3\n1,2,3\n", ":2: has more fields than the 2 of the header"),
    ],
)
def test_csv_that_cant_be(write: Write, text: str, message: str) -> None:
    with pytest.raises(TraceError) as told:
        read(name="csv", path=write("bad.csv", text))
    assert message in str(told.value)
    assert "bad.csv" in str(told.value)


HEADERS = {
    "csv": "arrival_s\n",
    "azure_llm": "TIMESTAMP,ContextTokens,GeneratedTokens\n",
    "burstgpt": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n",
    "azure_functions": "HashOwner,HashApp,HashFunction,Trigger,1,2\n",
    "prometheus": '{"data": {"resultType": "matrix", "result": []}}',
}


@pytest.mark.parametrize("name", HEADERS)
def test_files_that_are_no_data(name: str, tmp_path: Path) -> None:
    header = HEADERS[name].encode()
    for data, message in (
        (b"", "holds no requests: the file is empty"),
        (gzip.compress(b""), "holds no requests: the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a git-LFS pointer, not the data: run `git"),
        (gzip.compress(header)[:-5], "is damaged or cut-off gzip"),
        (b"\xff\xfe" + header, "text"),
        (header, "query matched nothing" if name == "prometheus" else "holds no requests: only a header line"),
        (
            header + b"\n\n",
            "query matched nothing" if name == "prometheus" else "holds no requests: only a header line",
        ),
    ):
        path = tmp_path / "file"
        path.write_bytes(data)
        with pytest.raises(TraceError) as told:
            read(name=name, path=str(path))
        assert message in str(told.value)
        assert str(path) in str(told.value)


def test_blank_lines_at_the_end_are_no_requests(write: Write) -> None:
    assert read(name="csv", path=write("blank.csv", "arrival_s\r\n1\r\n2\r\n\r\n\r\n")).arrival_s.tolist() == [1.0, 2.0]


def test_parts_of_a_file_are_one_stream(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows at a time: order, lines and blank lines go across parts."""
    monkeypatch.setattr(files, "_CELLS", 3)
    path = write("parts.csv.gz", "arrival_s\n" + "".join(f"{k}\n" for k in range(10)) + "\n\n\n\n")
    chunks = list(build_requests({"name": "csv", "path": path}).chunks(np.random.default_rng(0)))
    assert [len(chunk) for chunk in chunks] == [3, 3, 3, 1]
    assert Requests.concat(chunks).arrival_s.tolist() == list(range(10))
    for rows, message in (
        ("1\n2\n3\n2\n", ":5: column 'arrival_s': 2.0: must not be less than in the row above"),
        ("1\n2\n\n3\n", ":4: column 'arrival_s': nan: is needed"),
        ("1\n2\n3\n4\nx\n", ":6: column 'arrival_s': 'x': is not a number"),
    ):
        with pytest.raises(TraceError) as told:
            read(name="csv", path=write("bad.csv", "arrival_s\n" + rows))
        assert message in str(told.value)


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        (
            "azure_llm",
            "2023-11-16 18:15:46,5,-3\n",
            ":2: column 'GeneratedTokens': -3.0: must be a whole number of tokens",
        ),
        ("azure_llm", "2023-11-16 18:15:46,5,3\n2023-11-16 18:15:45,5,3\n", ":3: column 'TIMESTAMP': 17"),
        ("azure_llm", "2023-11-16 18:15:46,5,3\n2023-11-16 18:15:45,5,3\n", "must not be less than in the row above"),
        ("azure_llm", "yesterday,5,3\n", ":2: column 'TIMESTAMP': 'yesterday': is not a time such as"),
        ("azure_llm", ",5,3\n", ":2: column 'TIMESTAMP': nan: is needed: when the request arrives"),
        (
            "burstgpt",
            "5,a,3,4,7,x\n4,a,3,4,7,x\n",
            ":3: column 'Timestamp': 4.0: must not be less than in the row above",
        ),
        (
            "burstgpt",
            "5,a,-3,4,1,x\n",
            ":2: column 'Request tokens': -3.0: must be a whole number of tokens, 0 or more",
        ),
        ("burstgpt", "5,a,,4,7,x\n", ":2: column 'Request tokens': nan: must be a whole number of tokens, 0 or more"),
        ("azure_functions", "a,b,c,http,1,-3\n", ":2: column '2': -3: must be a number of invocations, 0 or more"),
        ("azure_functions", "a,b,c,http,1,1\na,b,c,http,x,1\n", ":3: column '1': 'x': must be a number of invocations"),
        ("azure_functions", "a,b,c,http,1\n", ":2: column '2': nan: must be a number of invocations, 0 or more"),
    ],
)
def test_rows_that_cant_be(write: Write, name: str, rows: str, message: str) -> None:
    with pytest.raises(TraceError) as told:
        read(name=name, path=write("bad.csv", HEADERS[name] + rows))
    assert message in str(told.value)


@pytest.mark.parametrize("name", ["azure_llm", "burstgpt", "azure_functions"])
def test_columns_that_are_missing(write: Write, name: str) -> None:
    """Each that is asked for, by name; BurstGPT's total and, unless asked for, its model aren't."""
    columns = HEADERS[name].strip().split(",")
    needed = set(columns) - {"HashOwner", "HashApp", "Model", "Total tokens", "Log Type", "2"}
    for column in needed:
        left = ",".join(other for other in columns if other != column)
        with pytest.raises(TraceError) as told:
            read(name=name, path=write("bad.csv", left + "\n" + "1,1,1,1,1\n"))
        assert f"column '{column}'" in str(told.value)


def test_tokens_that_are_left_out_are_counted_once(write: Write) -> None:
    path = write("burst.csv", HEADERS["burstgpt"] + "5,a,3,0,3,x\n6,a,3,1,4,x\n")
    source = build_requests({"name": "burstgpt", "path": path})
    for _ in range(2):
        assert sum(map(len, source.chunks(np.random.default_rng(0)))) == 1
        assert getattr(source, "dropped") == 1  # noqa: B009


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


def test_functions_in_parts_add_up(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows at a time, one of them quoted; minutes in whatever order."""
    monkeypatch.setattr(files, "_CELLS", 12)
    rows = "HashOwner,HashApp,HashFunction,Trigger,2,1\n" + "a,b,f1,http,60,0\n" * 4 + 'a,b,f2,http,"120",6\n'
    source = build_requests({"name": "azure_functions", "path": write("functions.csv", rows)})
    assert isinstance(source, AzureFunctionsRequests)
    ((edges_s, rates),) = source.rates()
    assert (edges_s.tolist(), rates.tolist()) == ([0.0, 60.0, 120.0], [0.1, 6.0])


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


def prometheus_rates(write: Write, *series: list[tuple[float, str]], kind: str = "rate") -> list[tuple[float, float]]:
    """(from, requests/s), each up to the next; the last is where the stream ends."""
    result = [{"metric": {"pod": str(k)}, "values": values} for k, values in enumerate(series)]
    path = write("range.json", json.dumps({"data": {"resultType": "matrix", "result": result}}))
    source = build_requests({"name": "prometheus", "path": path, "kind": kind})
    assert isinstance(source, PrometheusRequests)
    ((edges_s, rates),) = source.rates()
    return list(zip(edges_s.tolist(), [*rates.tolist(), 0.0], strict=True))


def test_prometheus_series_that_come_and_go_are_added_up(write: Write) -> None:
    """A pod that lives from 60 to 120 holds its last value for a step; one of a single point for that step."""
    always = [(1000.0 + 60 * k, "1") for k in range(5)]
    got = prometheus_rates(write, always, [(1060.0, "2"), (1120.0, "4")], [(1120.0, "8")])
    assert got == [(0.0, 1.0), (60.0, 3.0), (120.0, 13.0), (180.0, 1.0), (240.0, 0.0)]


def test_prometheus_where_points_are_missing_there_are_no_requests(write: Write) -> None:
    points = [
        (0.0, "1"),
        (60.0, "2"),
        (120.0, "NaN"),
        (180.0, "NaN"),
        (240.0, "3"),
        (300.0, "4"),
        (600.0, "5"),
        (660.0, "6"),
    ]
    got = prometheus_rates(write, points)
    assert got == [
        (0.0, 1.0), (60.0, 2.0), (120.0, 0.0), (180.0, 0.0), (240.0, 3.0), (300.0, 4.0), (360.0, 0.0), (600.0, 5.0),
        (660.0, 0.0),
    ]  # fmt: skip
    assert prometheus_rates(write, [(0.0, "NaN"), (60.0, "1"), (120.0, "1")])[:2] == [(0.0, 0.0), (60.0, 1.0)]


def test_prometheus_counters_count_across_missing_points_and_resets(write: Write) -> None:
    """60 in the first minute, 240 in the next four, without a value in between; then it begins anew and comes to 30."""
    points = [(0.0, "100"), (60.0, "160"), (120.0, "NaN"), (300.0, "400"), (360.0, "30"), (420.0, "30")]
    got = prometheus_rates(write, points, kind="counter")
    assert got == [(0.0, 1.0), (60.0, 1.0), (120.0, 1.0), (300.0, 0.5), (360.0, 0.0), (420.0, 0.0)]
    got = prometheus_rates(write, points[:2], [(0.0, "7")], [(30.0, "7"), (60.0, "37")], kind="counter")
    assert got == [(0.0, 1.0), (30.0, 2.0), (60.0, 0.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", ":1: is no JSON"),
        (
            '{"data": {"resultType": "matrix", "result": []}}',
            "holds no series: the query matched nothing in that range",
        ),
        ('{"data": {"resultType": "vector", "result": [{"value": [0, "1"]}]}}', "must be a range export"),
        ('{"resultType": "matrix", "result": [{"values": [[0, "1"]]}]}', "needs two points in time or more"),
        (
            '{"resultType": "matrix", "result": [{"values": [[0, "1"], [1, "+Inf"]]}]}',
            "must be finite, or NaN where there",
        ),
        ('{"resultType": "matrix", "result": [{"values": [[0, "NaN"], [1, "-2"]]}]}', "-2.0: must be 0 or more"),
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
