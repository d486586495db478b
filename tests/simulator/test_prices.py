"""`python -m simulator.prices`, and prices in runs: what they say, and of what day."""

from __future__ import annotations

import datetime
import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command import SMALL, Command

from simulator import __main__ as simulator_main
from simulator.catalogue import load_catalogue
from simulator.prices import main

TODAY = datetime.date(2026, 11, 24)
Capture = pytest.CaptureFixture[str]


@dataclass
class Item:
    """What gpuhunt says of one offer."""

    provider: str = "aws"
    instance_name: str = "p4d.24xlarge"
    location: str = "us-east-1"
    price: float = 20.0
    cpu: int = 96
    memory: float = 1152.0
    gpu_vendor: Any = field(default_factory=lambda: SimpleNamespace(value="nvidia"))
    gpu_count: int = 8
    gpu_name: str | None = "A100"
    gpu_memory: float | None = 40.0
    spot: bool = False


class Hunt:
    """A gpuhunt that has some items, and remembers what it was asked."""

    def __init__(self, *items: Item) -> None:
        self.items, self.asked = items, {}  # type: ignore[var-annotated]

    def Catalog(self, balance_resources: bool) -> Hunt:
        assert balance_resources is False
        return self

    def query(self, **wanted: Any) -> list[Item]:
        self.asked = wanted
        return list(self.items)


def said(capsys: Capture, *arguments: str, code: int = 0, today: datetime.date = TODAY) -> str:
    capsys.readouterr()
    assert main(arguments, today) == code
    told = capsys.readouterr()
    return told.err if code else told.out


# ---- show
def test_show_lists_the_cheapest_first(capsys: Capture) -> None:
    lines = said(capsys, "show", "gpu=H100").splitlines()
    ids = [line.split()[1] for line in lines if line.startswith("│")]
    assert ids[0] == "on_prem/example/hgx-h100"
    assert ids[-1] == "azure/eastus/ND96isr_H100_v5"
    p5 = next(line for line in lines if "p5.48xlarge" in line)
    assert p5.replace("│", " ").split()[-6:] == ["55.040", "6.880", "2.599", "–", "2.972", "2026-07-20"]
    assert lines[-1] == "6 of 38 offers; –: not known; GiB/s: of a machine's network"


def test_show_filters_and_sorts(capsys: Capture) -> None:
    out = said(capsys, "show", "provider=gcp", "gpu=A100", "sort=spot")
    ids = [line.split()[1] for line in out.splitlines() if line.startswith("│")]
    assert ids == ["gcp/us-central1/a2-highgpu-1g", "gcp/us-central1/a2-highgpu-8g", "gcp/us-central1/a2-ultragpu-1g"]


def test_show_puts_unknown_prices_last(capsys: Capture) -> None:
    out = said(capsys, "show", "gpu=H100", "sort=committed_3y")
    ids = [line.split()[1] for line in out.splitlines() if line.startswith("│")]
    assert ids[0] == "aws/us-east-1/p5.48xlarge"


def test_show_marks_what_is_old(capsys: Capture) -> None:
    out = said(capsys, "show", "gpu=B200", today=datetime.date(2027, 1, 17))
    assert "2026-07-20 !" in out
    assert out.splitlines()[-1].endswith("; !: more than 180 days old (1 of them)")
    assert "!" not in said(capsys, "show", "gpu=B200", today=datetime.date(2027, 1, 16))


def test_show_tells_all_of_one_offer(capsys: Capture) -> None:
    out = said(capsys, "show", "instance=aws/us-east-1/p4d.24xlarge")
    told = {line.split()[1]: line.replace("│", " ").split()[1] for line in out.splitlines() if line.startswith("│ ")}
    assert told["on_demand_usd_per_h"] == "21.9576"
    assert told["gpu_idle_w"] == "–"
    assert "AWS price list" in out


def test_show_takes_a_table_of_ones_own(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "provider,region,instance_type,gpu_type,gpus,spot_usd_per_h,source,as_of\nme,here,box,X1,2,1,deal,2026-11-01\n"
    )
    assert "me/here/box" in said(capsys, "show", "gpu=X1", f"catalogue={path}")


def test_managed_is_listed_with_sources(capsys: Capture) -> None:
    out = said(capsys, "managed")
    assert "modal-h100-80gb" in out
    assert "3.949" in out  # USD an hour of a replica
    assert "together-llama-3.3-70b, together-llama-3.1-8b: together.ai's pricing page" in out
    tokens = said(capsys, "managed", "kind=token")
    assert "groq" in tokens
    assert "modal" not in tokens


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shwo"], "unknown command 'shwo'; did you mean show"),
        (["show", "gpu"], "'gpu': must read KEY=VALUE"),
        (["show", "gpu="], "'gpu=': must read KEY=VALUE"),
        (["show", "gpus=H100"], "gpus: unknown key; did you mean gpu"),
        (["show", "gpu=H10"], "gpu=H10: no offer has it; did you mean H100"),
        (["show", "sort=price"], "sort=price: unknown order; known: as_of, committed_1y"),
        (
            ["show", "provider=awss"],
            "provider=awss: no offer has it; did you mean aws? Known: aws, azure, gcp, on_prem",
        ),
        (
            ["show", "gpu=B200", "provider=gcp"],
            "gpu=B200 provider=gcp: no offer has all of these; with gpu=B200 there are aws/",
        ),
        (["show", "gpu=H100", "gpu=T4"], "gpu=T4: gpu is given twice"),
        (["show", "instance=aws/us-east-1/p4d.24xlarge", "sort=spot"], "instance=aws/us-east-1/p4d.24xlarge: is one "),
        (["show", "instance=x"], "instance=x: no such offer among 38; `python -m simulator.prices show` lists them"),
        (
            ["show", "instance=p4d.24xlarge"],
            "instance=p4d.24xlarge: no such offer among 38; did you mean aws/us-east-1/p4d",
        ),
        (["show", "catalogue=none.csv"], "none.csv: can't be read: No such file or directory"),
        (["managed", "kind=tokens"], "kind=tokens: unknown kind; did you mean token"),
        (["import", "skypilot=x.csv"], "provider=… is needed: import skypilot=FILE provider=NAME as_of=DAY"),
        (["import", "skypilot=x.csv", "provider=aws", "as_of=May"], "as_of=May: must be a day such as 2026-09-01"),
    ],
)
def test_a_mistake_is_told_in_one_line(capsys: Capture, arguments: list[str], message: str) -> None:
    err = said(capsys, *arguments, code=2)
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_help_tells_the_commands(capsys: Capture) -> None:
    for arguments in ([], ["--help"], ["show", "--help"], ["import", "provider=aws", "-h"]):
        out = said(capsys, *arguments)
        assert all(f"python -m simulator.prices {name}" in out for name in ("show", "managed", "refresh", "import"))


# ---- from elsewhere
def test_import_of_skypilots_file(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vms.csv").write_text(
        "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,SpotPrice,Region\n"
        "a,,,2,4,0.1,,us-east-1\np4d.24xlarge,A100,8,96,1152,30,11,us-east-1\n"
    )
    out = said(capsys, "import", "skypilot=vms.csv", "provider=aws", "as_of=2026-09-01", "out=own.csv")
    assert out == "left out: 1 row without an accelerator\nwrote 1 offer to own.csv\n"
    read = load_catalogue("own.csv").get("aws/us-east-1/p4d.24xlarge")
    assert (read.usd_per_h("spot"), read.as_of) == (11.0, datetime.date(2026, 9, 1))


def test_refresh_writes_what_gpuhunt_says(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    google = SimpleNamespace(value="google")
    hunt = Hunt(
        Item(),
        Item(spot=True, price=8.0),
        Item(spot=True, price=7.0),
        Item("gcp", "a2", "us-central1-a", 3.5, 12, 85.0, gpu_count=1),
        Item("gcp", "a2", "us-central1-b", 3.4, 12, 85.0, gpu_count=1),
        Item(
            *("azure", "Standard_NC40ads_H100_v5", "eastus", 7.0, 40, 320.0),
            gpu_count=1,
            gpu_name="H100NVL",
            gpu_memory=94.0,
        ),
        Item("gcp", "tpu", "us-central1-a", gpu_name="v5p", gpu_vendor=google),
        Item(instance_name="m5", gpu_count=0, gpu_name=None, gpu_memory=None, gpu_vendor=None),
    )
    monkeypatch.setitem(sys.modules, "gpuhunt", hunt)
    out = tmp_path / "own.csv"
    assert said(capsys, "refresh", f"out={out}").endswith(f"wrote 3 offers to {out}\n")
    assert hunt.asked == {"provider": ["aws", "azure", "gcp"], "min_gpu_count": 1}
    known = load_catalogue(out)
    assert known.get("aws/us-east-1/p4d.24xlarge").prices == {"on_demand": 20.0, "spot": 7.0}
    assert known.get("gcp/us-central1/a2").prices == {"on_demand": 3.4}
    nc40 = known.get("azure/eastus/NC40ads_H100_v5")
    assert (nc40.gpu_type, nc40.as_of, nc40.usd_per_h()) == ("H100-94GB", TODAY, 7.0)
    assert (nc40.network_gib_per_s, nc40.billing_minimum_s, nc40.gpu_peak_w) == (4.66, 60, 400)  # as shipped
    assert nc40.source == "gpuhunt, cheapest zone; what it leaves out: as of azure/eastus/NC40ads_H100_v5"
    told = said(capsys, "refresh", "provider=aws,oci", "gpu=A100", "region=us-east-1", f"out={out}")
    assert told.splitlines() == ["no offer by oci", f"wrote 1 offer to {out}"]
    assert hunt.asked == {"provider": ["aws", "oci"], "min_gpu_count": 1, "gpu_name": "A100"}


def test_refresh_needs_gpuhunt(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpuhunt", None)
    assert said(capsys, "refresh", code=2) == "error: this needs gpuhunt: pip install -e '.[prices]'\n"


def test_refresh_that_fails_or_finds_nothing(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpuhunt", Hunt())
    assert said(capsys, "refresh", "gpu=X", code=2) == "error: gpuhunt: no offer of X by aws, azure, gcp\n"

    def fail(**_: Any) -> Any:
        raise ValueError("no\ncatalogue") from OSError("no network")

    monkeypatch.setitem(sys.modules, "gpuhunt", SimpleNamespace(Catalog=fail))
    assert said(capsys, "refresh", code=2) == "error: gpuhunt: ValueError: no catalogue: no network\n"


# ---- in runs
def test_a_run_takes_a_pool_from_the_catalogue(command: Command) -> None:
    given = (
        *SMALL,
        "cluster.instance=aws/us-east-1/p4d.24xlarge",
        "cluster.purchase=spot",
        "figures=false",
        "check=true",
    )
    told = command(*given, "hydra.run.dir=run")
    assert told.code == 0, told.err
    nodes = (command.folder / "run" / "config.yaml").read_text()
    assert "instance: aws/us-east-1/p4d.24xlarge" in nodes
    summary = json.loads((command.folder / "run" / "summary.json").read_text())
    assert summary["cost_usd"] == summary["cost_spot_usd"]
    paid_s = summary["cost_usd"] / (16.298 / 3600)
    assert paid_s == pytest.approx(2 * math.ceil(summary["facts"]["end_s"]))  # two nodes, by the second begun


def test_a_run_notes_an_old_price_once(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    later = SimpleNamespace(date=SimpleNamespace(today=lambda: datetime.date(2027, 6, 1)))
    monkeypatch.setattr(simulator_main, "datetime", later)
    told = command(*SMALL, "cluster=aws_p4d", "cluster.num_nodes=2", "figures=false", "hydra.run.dir=run")
    assert told.code == 0, told.err
    notes = json.loads((command.folder / "run" / "summary.json").read_text())["notes"]
    (note,) = [each for each in notes if "price" in each]
    assert "aws/us-east-1/p4d.24xlarge on_demand, 2026-07-20" in note
    assert told.out.count("the price of pool 'default'") == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("cluster.purchase=sopt", "cluster.purchase=sopt: unknown way of buying; did you mean spot"),
        ("cluster.instnce=x", "cluster.instnce: unknown option; did you mean instance"),
        (
            "cluster.instance=p5.48xlarge",
            "cluster.instance=p5.48xlarge: no such offer among 38; did you mean aws/us-east-1",
        ),
    ],
)
def test_a_run_refuses_what_is_not_in_the_catalogue(command: Command, given: str, message: str) -> None:
    told = command(*SMALL, given)
    assert told.code == 2
    assert told.err.startswith(f"error: {message}")
