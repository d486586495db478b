"""The catalogue: what is shipped, tables of one's own, and pools that are taken from it."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simulator.catalogue import (
    PURCHASES,
    Offer,
    catalogue_of,
    is_stale,
    load_catalogue,
    load_managed,
    pool_settings,
    price_notes,
)
from simulator.catalogue.naming import gpu_type_of, with_facts
from simulator.catalogue.rows import read_offers, write_offers
from simulator.catalogue.skypilot import read_skypilot
from simulator.errors import ConfigError
from simulator.pools import PoolSpec
from workloads.errors import TraceError

DAY = datetime.date(2026, 11, 24)
P4D = "aws/us-east-1/p4d.24xlarge"
HEADER = "provider,region,instance_type,gpu_type,gpus,on_demand_usd_per_h,source,as_of"
ROW = "mine,here,box,T4,4,2.5,my contract,2026-10-01"


def offer(**fields: Any) -> Offer:
    given: dict[str, Any] = {
        "provider": "mine",
        "region": "here",
        "instance_type": "box",
        "gpu_type": "T4",
        "gpus": 4,
        "on_demand_usd_per_h": 2.0,
        "source": "a test",
        "as_of": DAY,
    }
    return Offer(**(given | fields))


# ---- what is shipped
def test_every_shipped_offer_tells_its_source_and_its_price() -> None:
    for each in load_catalogue():
        assert each.prices, each.id
        assert each.usd_per_h("on_demand") == each.on_demand_usd_per_h
        assert each.as_of <= DAY
        assert re.search(r"\d{4}|example", each.source), each.id


@pytest.mark.parametrize(
    ("name", "usd_per_h"),
    [
        *((f"aws/us-east-1/{name}", usd) for name, usd in {
            "p3.2xlarge": 3.06, "p3.8xlarge": 12.24, "p3.16xlarge": 24.48, "p3dn.24xlarge": 31.212,
            "p4d.24xlarge": 21.957642, "p4de.24xlarge": 27.44705, "p5.48xlarge": 55.04, "p5.4xlarge": 6.88,
            "p5en.48xlarge": 63.296, "p6-b200.48xlarge": 113.9328, "g4dn.xlarge": 0.526, "g4dn.12xlarge": 3.912,
            "g5.xlarge": 1.006, "g5.12xlarge": 5.672, "g5.48xlarge": 16.288, "g6.xlarge": 0.8048,
            "g6.12xlarge": 4.6016, "g6.48xlarge": 13.3504, "g6e.xlarge": 1.861, "g6e.48xlarge": 30.13118,
        }.items()),
        *((f"azure/eastus/{name}", usd) for name, usd in {
            "NC4as_T4_v3": 0.526, "NC6s_v3": 3.06, "NC24s_v3": 12.24, "NC24ads_A100_v4": 3.673,
            "NC96ads_A100_v4": 14.692, "NC40ads_H100_v5": 6.98, "ND96asr_v4": 27.197, "ND96amsr_A100_v4": 32.77,
            "ND96isr_H100_v5": 98.32,
        }.items()),
        *((f"gcp/us-central1/{name}", usd) for name, usd in {
            "a2-highgpu-1g": 3.673, "a2-highgpu-8g": 29.387, "a2-ultragpu-1g": 5.069, "g2-standard-4": 0.76,
            "g2-standard-48": 4.23, "attachable-T4": 0.35, "attachable-V100": 2.48, "a3-highgpu-8g": 88.49,
        }.items()),
    ],
)  # fmt: skip
def test_on_demand_prices_are_those_of_the_price_lists(name: str, usd_per_h: float) -> None:
    assert load_catalogue().get(name).usd_per_h() == usd_per_h


def test_clouds_bill_by_the_second_and_a_minute_at_least() -> None:
    rules = {(each.provider, each.billing_granularity_s, each.billing_minimum_s) for each in load_catalogue()}
    assert rules == {("aws", 1, 60), ("azure", 1, 60), ("gcp", 1, 60), ("on_prem", 0, 0)}


def test_an_owned_machine_costs_what_its_assumptions_make() -> None:
    own = load_catalogue().get("on_prem/example/hgx-h100")
    hours = 4 * 365 * 24
    usd_per_h = 280_000 / hours + 8 * 1.3 * 0.12 + 0.1 * 280_000 / (365 * 24)
    assert own.usd_per_h() == pytest.approx(usd_per_h, abs=0.005)
    assert own.source.startswith("example, to be replaced")


def test_bought_otherwise_is_cheaper() -> None:
    for each in load_catalogue():
        assert all(usd < each.prices["on_demand"] for name, usd in each.prices.items() if name != "on_demand"), each.id


def test_managed_offers_are_of_each_kind_and_say_what_they_cost() -> None:
    offers = load_managed()
    assert {each.kind for each in offers.values()} == {"replica_second", "request", "token"}
    assert offers["modal-h100-80gb"].usd_per_replica_s == 0.001097
    assert offers["groq-llama-3.3-70b"].usd_per_m_output_tokens == 0.79
    assert all(each.source and each.as_of <= DAY for each in offers.values())


# ---- looked up
def test_found_by_gpu_provider_and_region() -> None:
    known = load_catalogue()
    assert {each.gpu_type for each in known.find(gpu="a100")} == {"A100-40GB", "A100-80GB"}
    assert {each.gpu_type for each in known.find(gpu="A100-40GB")} == {"A100-40GB"}
    assert [each.id for each in known.find(gpu="H100", provider="gcp")] == ["gcp/us-central1/a3-highgpu-8g"]
    assert known.find(gpu="B200", region="eastus") == []
    assert known.find() == list(known)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"gpu": "H10"}, "gpu=H10: no offer has it; did you mean H100"),
        ({"provider": "was"}, "provider=was: no offer has it; did you mean aws"),
        ({"region": "us-east-2"}, "region=us-east-2: no offer has it; did you mean us-east-1"),
    ],
)
def test_a_name_that_no_offer_has(wanted: Mapping[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_catalogue().find(**wanted)


@pytest.mark.parametrize("name", ["p4d.24xlarge", "aws/us-east-1/p4d.24large", "aws/eu-west-1/p4d.24xlarge"])
def test_an_id_that_is_not_there_names_the_nearest(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^instance={name}: no such offer among 38; did you mean .*{P4D}"):
        load_catalogue().get(name)


def test_a_price_that_is_not_known() -> None:
    known = load_catalogue()
    with pytest.raises(
        ConfigError, match=r"purchase=spot: no such price of aws/.*p4de.24xlarge is known; known: on_dem"
    ):
        known.get("aws/us-east-1/p4de.24xlarge").usd_per_h("spot")
    with pytest.raises(ConfigError, match="purchase=sopt: unknown way of buying; did you mean spot"):
        known.get(P4D).usd_per_h("sopt")
    assert known.get("aws/us-east-1/p4de.24xlarge").usd_per_gpu_h("spot") is None


# ---- tables of one's own
def test_a_table_of_ones_own_goes_over_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"{HEADER}\n{ROW}\n\naws,us-east-1,p4d.24xlarge,A100-40GB,8,10,a deal,2026-11-01\n")
    known = load_catalogue(path)
    assert len(known) == 39
    assert known.get("mine/here/box").usd_per_gpu_h() == 0.625
    assert known.get("mine/here/box").vcpus is None
    assert known.get(P4D).prices == {"on_demand": 10.0}  # a row replaces a row whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "t.csv: is empty"),
        (f"{HEADER},gpus\n", "t.csv:1: column 'gpus': is there twice in the header"),
        (f"{HEADER},gpu\n{ROW},x\n", "t.csv:1: column 'gpu': is no column of this table; did you mean gpus"),
        (
            f"{HEADER}\n{ROW},x\n",
            "t.csv:2: 'mine,here,box,T4,4,2.5,my contract,2026-10-01,x': has 9 fields where 8 are due",
        ),
        (f"{HEADER}\n{ROW.replace('4,2.5', ',2.5')}\n", "t.csv:2: column 'gpus': is needed"),
        (f"{HEADER}\n{ROW.replace('4,2.5', '4.5,2.5')}\n", "t.csv:2: column 'gpus': '4.5': must be a whole number"),
        (f"{HEADER}\n{ROW.replace('4,2.5', '0,2.5')}\n", "t.csv:2: column 'gpus': '0': must be 1 or more"),
        (f"{HEADER}\n{ROW.replace('2.5', 'two: 2')}\n", "column 'on_demand_usd_per_h': 'two: 2': must be a number"),
        (
            f"{HEADER}\n{ROW.replace('2.5', '-1')}\n",
            "column 'on_demand_usd_per_h': '-1': must be a number above 0, or em",
        ),
        (f"{HEADER}\n{ROW.replace('2.5', 'nan')}\n", "column 'on_demand_usd_per_h': 'nan': must be a number above 0"),
        (f"{HEADER}\n{ROW.replace('2.5', '')}\n", "column 'on_demand_usd_per_h': '': must be there, or another price"),
        (
            f"{HEADER}\n{ROW}\n{ROW.replace('-10-01', '')}\n",
            "t.csv:3: column 'as_of': '2026': must be a day such as 2026",
        ),
        (
            f"{HEADER}\n{ROW.replace('here', 'over/here')}\n",
            "column 'region': 'over/here': must be a word without space",
        ),
        (f"{HEADER}\n\n{ROW}\n{ROW}\n", "t.csv:4: 'mine/here/box': is there already, in line 3"),
        (f"{HEADER},gpu_idle_w,gpu_peak_w\n{ROW},70,60\n", "column 'gpu_idle_w': '70': must be at most gpu_peak_w=60"),
    ],
)
def test_a_table_that_breaks_a_rule(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=re.escape(message)):
        load_catalogue(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("x,me,seconds,,,,,s,2026-01-01", "column 'kind': 'seconds': is no kind of managed offer"),
        (
            "x,me,replica_second,T4,,,,s,2026-01-01",
            "column 'usd_per_replica_s': '': is needed where kind is replica_sec",
        ),
        ("x,me,replica_second,,,0.1,,s,2026-01-01", "column 'gpu_type': '': is needed where kind is replica_second"),
        (
            "x,me,request,,m,0.1,3,s,2026-01-01",
            "column 'usd_per_replica_s': '0.1': must be empty where kind is request",
        ),
    ],
)
def test_a_managed_offer_that_breaks_a_rule(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "m.csv"
    names = "offer,provider,kind,gpu_type,model,usd_per_replica_s,usd_per_1k_requests,source,as_of"
    path.write_text(f"{names}\n{row}\n")
    with pytest.raises(TraceError, match=re.escape(message)):
        load_managed(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.csv: can't be read: No such file"):
        load_catalogue(tmp_path / "none.csv")


def test_what_is_written_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "all.csv"
    write_offers(load_catalogue(), path)
    assert read_offers(path.read_text(), Offer, path) == list(load_catalogue())
    with pytest.raises(ConfigError, match=r"mine/here/box: gpus=0: must be 1 or more"):
        write_offers([offer(gpus=0)], path)
    assert [each.name for each in path.parent.iterdir()] == ["all.csv"]


# ---- pools
def test_a_pool_takes_its_size_and_price_from_an_offer() -> None:
    spec = PoolSpec(**pool_settings({"instance": P4D, "num_nodes": 3}))
    assert spec == PoolSpec(
        num_nodes=3, gpus_per_node=8, cpus_per_node=96, memory_gib_per_node=1152, network_gib_per_s=46.6,
        gpu_memory_gib=40, gpu_type="A100-40GB", usd_per_node_h=21.957642, price_source=f"{P4D} on_demand, 2026-07-20",
        billing_granularity_s=1.0, billing_minimum_s=60.0, gpu_peak_w=400.0,
    )  # fmt: skip


@pytest.mark.parametrize(("purchase", "usd"), list(zip(PURCHASES, (21.957642, 16.298, 13.921, 9.374), strict=True)))
def test_the_price_follows_the_purchase(purchase: str, usd: float) -> None:
    found = pool_settings({"instance": P4D, "purchase": purchase})
    assert found["usd_per_node_h"] == usd
    assert found["price_source"] == f"{P4D} {purchase}, 2026-07-20"


def test_what_is_unknown_of_an_offer_keeps_its_default() -> None:
    spec = PoolSpec(**pool_settings({"instance": "gcp/us-central1/attachable-T4"}))
    assert (spec.gpus_per_node, spec.cpus_per_node, spec.network_gib_per_s) == (1, float("inf"), float("inf"))


def test_what_is_set_by_hand_goes_first_and_none_is_not_set() -> None:
    given = {"instance": P4D, "usd_per_node_h": 0.0, "gpu_type": "mine", "cpus_per_node": None, "max_nodes": None}
    found = pool_settings(given)
    assert (found["usd_per_node_h"], found["gpu_type"], found["cpus_per_node"]) == (0.0, "mine", 96)
    assert found["price_source"] == "set by hand"
    assert "max_nodes" not in found


def test_without_an_instance_settings_stay_as_they_are() -> None:
    given = {"instance": "", "purchase": "on_demand", "num_nodes": 2, "gpus_per_node": None}
    assert pool_settings(given) == {"purchase": "on_demand", "num_nodes": 2}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"catalogue": "x.csv"}, "cluster.catalogue=x.csv: is of an instance; set cluster.instance"),
        ({"instance": "p4d.24xlarge"}, f"cluster.instance=p4d.24xlarge: no such offer among 38; did you mean {P4D}"),
        ({"instance": P4D, "purchase": "sopt"}, "cluster.purchase=sopt: unknown way of buying; did you mean spot"),
        ({"instance": P4D, "purchase": "x", "usd_per_node_h": 1.0}, "cluster.purchase=x: unknown way of buying"),
        (
            {"instance": P4D, "gpus_per_node": 4},
            f"cluster.gpus_per_node=4: {P4D} has 8, and its price is for all of them",
        ),
    ],
)
def test_a_pool_that_can_not_be(given: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        pool_settings(given)


def test_a_pool_of_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"{HEADER}\n{ROW}\n")
    found = pool_settings({"instance": "mine/here/box", "catalogue": str(path)})
    assert (found["gpus_per_node"], found["usd_per_node_h"]) == (4, 2.5)
    assert pool_settings({"instance": "mine/here/box"}, catalogue_of([offer()]))["usd_per_node_h"] == 2.0


# ---- old prices
def test_a_price_is_stale_after_180_days() -> None:
    assert not is_stale(DAY, DAY + datetime.timedelta(180))
    assert is_stale(DAY, DAY + datetime.timedelta(181))


def test_an_old_price_is_noted_once_a_pool() -> None:
    old = PoolSpec("old", usd_per_node_h=1.0, price_source="somewhere, 2026-05-01")
    free = PoolSpec("free", usd_per_node_h=0.0, price_source="somewhere, 2026-05-01")
    new = PoolSpec("new", **pool_settings({"instance": P4D}))
    undated = PoolSpec("undated", usd_per_node_h=1.0, price_source="set by hand")
    (note,) = price_notes([old, free, new, undated], DAY)
    assert note.startswith("the price of pool 'old' is more than 180 days old: somewhere, 2026-05-01; `python -m")
    assert len(price_notes([old, new], DAY + datetime.timedelta(365))) == 2


# ---- other catalogues
@pytest.mark.parametrize(
    ("name", "memory_gib", "gpu_type"),
    [
        ("A100", 40.0, "A100-40GB"),
        ("A100-80GB", None, "A100-80GB"),
        ("A100-80GB-SXM", 80.0, "A100-80GB"),
        ("V100", 15.9, "V100-16GB"),
        ("H100-NVL", 93.6, "H100-94GB"),
        ("H100", None, "H100"),
        ("H200", 141.0, "H200"),
        ("T4", 16.0, "T4"),
        ("RTX A6000", 48.0, "RTX-A6000"),
    ],
)
def test_names_of_gpus(name: str, memory_gib: float | None, gpu_type: str) -> None:
    assert gpu_type_of(name, memory_gib) == gpu_type


def test_facts_of_machines_are_carried_to_other_regions_but_prices_are_not() -> None:
    there = offer(provider="aws", region="eu-west-1", instance_type="p4d.24xlarge", gpus=8, vcpus=95)
    other = offer(provider="aws", region="eu-west-1", instance_type="p4d.24xlarge", gpus=4)
    filled, alone, own = with_facts([there, other, offer()], load_catalogue())
    assert (filled.network_gib_per_s, filled.vcpus, filled.prices) == (46.6, 95, {"on_demand": 2.0})
    assert filled.source == f"a test; what it leaves out: as of {P4D}"
    assert (alone, own) == (other, offer())


SKYPILOT = """\
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,AvailabilityZone,Arch
a1.large,,,2.0,4.0,,0.0642,0.064200,r1,z1,arm64
big,A100,8.0,96.0,1152.0,"{'Gpus': [{'Name': 'A100', 'Count': 8.0, 'MemoryInfo': {'SizeInMiB': 40960}}]}",20,9.5,r1,z1,x
big,A100,8.0,96.0,1152.0,"{'Gpus': [{'Name': 'A100', 'Count': 8.0, 'MemoryInfo': {'SizeInMiB': 40960}}]}",20,,r1,z2,x
big,A100,8.0,96.0,1152.0,"{""Gpus"": [{""MemoryInfo"": {""SizeInMiB"": 40960}}]}",20,9.0,r1,z3,x
big,A100,8.0,96.0,1152.0,,21,0,r2,z1,x
small,L4,0.125,1.0,4.0,,0.2,0.1,r1,z1,x
odd,A100-80GB,1.0,8.0,117.0,{'SizeInMiB': 80},1.59,,"Texas, US",z1,x
,tpu-v3-8,1,,,tpu-v3-8,32.0,9.6,r1,z1,
,T4,2.0,,,,0.7,0.22,r1,z1,
gone,T4,1,4,16,,,,r1,z1,x
"""


def test_skypilots_files_are_read() -> None:
    offers, left = read_skypilot(SKYPILOT, "vms.csv", provider="aws", as_of=DAY)
    big, other, odd, alone = offers
    assert (big.id, big.gpu_type, big.gpus, big.gpu_memory_gib) == ("aws/r1/big", "A100-40GB", 8, 40.0)
    assert (big.vcpus, big.memory_gib, big.prices) == (96, 1152, {"on_demand": 20.0, "spot": 9.0})
    assert (other.id, other.gpu_type, other.prices) == ("aws/r2/big", "A100", {"on_demand": 21.0})
    assert (odd.id, odd.gpu_type, odd.gpu_memory_gib) == ("aws/Texas,US/odd", "A100-80GB", None)
    assert (alone.id, alone.gpus, alone.vcpus) == ("aws/r1/attachable-T4", 2, None)
    assert left == {
        "without an accelerator": 1,
        "of a part of a GPU": 1,
        "of TPUs": 1,
        "without a price": 1,
    }
    assert not any(each.broken_rules() for each in offers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "InstanceType,Price\nx,1\n",
            "v.csv:1: column 'AcceleratorName': is missing (the file has InstanceType, Price)",
        ),
        (SKYPILOT.replace("96.0", "many", 1), "v.csv:3: column 'vCPUs': 'many': must be a number"),
        (
            SKYPILOT.replace("A100,8.0", "A100,8.5", 1),
            "v.csv:3: column 'AcceleratorCount': '8.5': must be a whole number",
        ),
        (SKYPILOT.replace(",20,9.5", ",-20,9.5"), "v.csv:3: -20.0: on_demand_usd_per_h must be a number above 0"),
    ],
)
def test_a_file_that_is_not_skypilots(text: str, message: str) -> None:
    with pytest.raises(TraceError, match=re.escape(message)):
        read_skypilot(text, "v.csv", provider="aws", as_of=DAY)


def test_a_file_of_skypilots_without_gpus() -> None:
    text = "\n".join(SKYPILOT.splitlines()[:2])
    with pytest.raises(ConfigError, match=r"v.csv: no row is an offer \(1 without an accelerator\)"):
        read_skypilot(text, "v.csv", provider="aws", as_of=DAY)
