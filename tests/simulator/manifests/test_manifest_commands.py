"""scaling=kubernetes, and `python -m simulator.manifests`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.__main__ import main as simulate
from simulator.config import make_policy
from simulator.errors import ConfigError
from simulator.manifests.__main__ import main
from simulator.manifests.choice import expanded
from simulator.manifests.scaled import described
from workloads import WorkloadError

ROOT = Path(__file__).parents[3]
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "chat"},
    "spec": {
        "replicas": 2,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "a",
                        "image": "b",
                        "resources": {"limits": {"nvidia.com/gpu": 1, "cpu": 4, "memory": "16Gi"}},
                    }
                ]
            }
        },
    },
}
HPA = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "chat"},
    "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "chat"},
        "minReplicas": 1,
        "maxReplicas": 6,
        "metrics": [
            {
                "type": "Pods",
                "pods": {"metric": {"name": "in_flight"}, "target": {"type": "AverageValue", "averageValue": "1500m"}},
            }
        ],
    },
}
POOL = {
    "apiVersion": "karpenter.sh/v1",
    "kind": "NodePool",
    "metadata": {"name": "gpus"},
    "spec": {"template": {"spec": {"expireAfter": "Never"}}, "disruption": {"consolidateAfter": "1m"}},
}
JOB = {
    "apiVersion": "kubeflow.org/v1",
    "kind": "PyTorchJob",
    "metadata": {
        "name": "bert",
        "annotations": {"elastic-gpu-simulator/submit-s": "0", "elastic-gpu-simulator/duration-s": "600"},
    },
    "spec": {"pytorchReplicaSpecs": {"Worker": {"replicas": 2, "template": DEPLOYMENT["spec"]["template"]}}},  # type: ignore[index]
}
NAMES = {"in_flight": "concurrency_per_replica"}


@pytest.fixture
def manifest(tmp_path: Path):
    def write(*documents: Any) -> str:
        path = tmp_path / "chat.yaml"
        path.write_text(yaml.safe_dump_all(documents))
        return str(path)

    return write


def test_a_choice_is_the_policy_of_its_manifest(manifest):
    choice = {
        "name": "kubernetes",
        "manifest": manifest(DEPLOYMENT, HPA),
        "metrics": NAMES,
        "options": {"period_s": 30},
    }
    policy = make_policy("scaling", choice)
    assert (policy.min_units, policy.max_units, policy.period_s) == (1, 6, 30)
    assert policy.metrics[0].metric == "concurrency_per_replica"


def test_one_of_several(manifest):
    path = manifest(HPA, POOL)
    choice = {"name": "kubernetes", "manifest": path, "metrics": NAMES}
    with pytest.raises(
        ConfigError, match=r"describes several, choose by scaling\.object: HorizontalPodAutoscaler/chat, No"
    ):
        make_policy("scaling", choice)
    assert make_policy("scaling", {**choice, "object": "NodePool/gpus"}).consolidate_after_s == 60.0
    assert make_policy("scaling", {**choice, "object": "chat"}).max_units == 6
    with pytest.raises(ConfigError, match=r"node_scaling\.object=a: .*: 0 of its policies: "):
        make_policy("scaling", {**choice, "object": "a"}, prefix="node_scaling")


@pytest.mark.parametrize(
    ("documents", "more", "message"),
    [
        ([DEPLOYMENT], {}, r"scaling\.manifest=.*chat\.yaml: describes no scaling policy"),
        ([POOL], {"metric": {}}, r"scaling\.metric: unknown option; did you mean metrics\?"),
        ([POOL], {"options": {"min_unit": 1}}, r"scaling\.min_unit: unknown option; did you mean min_units"),
        ([HPA], {}, r"chat\.yaml:10: document 1: .*'in_flight' is not measured here"),
    ],
)
def test_choices_that_are_refused(manifest, documents, more, message):
    with pytest.raises(WorkloadError if "describes" not in message else ConfigError, match=message):
        make_policy("scaling", {"name": "kubernetes", "manifest": manifest(*documents), **more})


def test_settings_are_expanded_everywhere(manifest):
    choice = {"name": "kubernetes", "manifest": manifest(POOL)}
    settings = {"seed": 1, "scaling": {"name": "static"}, "pools": {"a": {"scaling": choice}}, "node_scaling": choice}
    found = expanded(settings)
    assert (found["seed"], found["scaling"]) == (1, {"name": "static"})
    assert found["pools"]["a"]["scaling"] == found["node_scaling"]
    assert found["node_scaling"]["name"] == "karpenter"


def test_show(manifest, capsys):
    path = manifest(DEPLOYMENT, HPA, POOL, JOB, {"kind": "Service", "metadata": {"name": "chat"}})
    assert main(["show", path, "metrics={in_flight: concurrency_per_replica}"]) == 0
    told = capsys.readouterr().out
    assert f"{path}: document 1: Deployment chat: a service\n  name: chat\n  replicas: 2\n" in told
    assert f"{path}: document 2: HorizontalPodAutoscaler chat: scaling=kubernetes_hpa" in told
    assert f"{path}: document 4: PyTorchJob bert: a job of 2 GPUs, 600 s" in told
    assert f"{path}: document 5: Service chat: has no part in it" in told
    command = told.splitlines()[-1]
    for word in (
        f"workload=kubeflow workload.path={path}",
        "requests=web_days service.name=chat service.replicas=2 service.gpus_per_replica=1 service.cpus_per_gpu=4.0",
        "service.min_replicas=1 service.max_replicas=6",
        f"scaling=kubernetes scaling.manifest={path} scaling.object=HorizontalPodAutoscaler/chat",
        "scaling.metrics.in_flight=concurrency_per_replica",
        f"node_scaling=kubernetes node_scaling.manifest={path} node_scaling.object=NodePool/gpus",
    ):
        assert word in command


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([HPA], ["workload=none", "requests=web_days", "service.name=chat", "service.replicas=1"]),
        ([{**DEPLOYMENT, "metadata": {"name": "other"}}, HPA], ["service.name=chat", "service.replicas=1"]),
        ([{**DEPLOYMENT, "metadata": {"name": "other"}}, DEPLOYMENT, HPA], ["service.name=chat", "service.replicas=2"]),
        ([DEPLOYMENT], ["workload=none", "requests=web_days", "service.name=chat", "service.replicas=2"]),
        ([POOL], []),
    ],
)
def test_what_is_shown_runs(manifest, tmp_path, capsys, documents, words):
    """The command, as a shell takes it; only the load is cut short."""
    assert (
        main(
            ["show", manifest(*documents), "metrics={in_flight: concurrency_per_replica}"][
                : 3 if HPA in documents else 2
            ]
        )
        == 0
    )
    *_, head, line = capsys.readouterr().out.splitlines()
    python, dash_m, module, *given = shlex.split(line)
    assert (python, dash_m, module) == ("python", "-m", "simulator")
    assert set(words) <= set(given)
    assert ("requests=web_days stands for your own load" in head) == bool(words)
    short = ["requests.to_s=60"] if words else ["workload.num_jobs=5"]
    assert simulate([*given, *short, "figures=false", f"hydra.run.dir={tmp_path / 'run'}"]) == 0, (
        capsys.readouterr().err
    )


def ran(folder: Path, capsys: Any, *given: str) -> tuple[Any, list[str]]:
    """(its settings, its notes) of a short run."""
    short = ["requests.to_s=60"] if any(each.startswith("requests=") for each in given) else ["workload.num_jobs=5"]
    assert simulate([*given, *short, "figures=false", f"hydra.run.dir={folder}"]) == 0, capsys.readouterr().err
    notes = json.loads((folder / "summary.json").read_text())["notes"]
    told = capsys.readouterr().out
    assert all(note in told for note in notes)
    return yaml.safe_load((folder / "config.yaml").read_text()), notes


def test_replicas_scaled_in_a_run_without_a_service_are_nodes_and_that_is_told(manifest, tmp_path, capsys):
    path = manifest(DEPLOYMENT, changed_hpa(metric="gpu_utilisation_frac", low=2))
    config, notes = ran(tmp_path / "run", capsys, "scaling=kubernetes", f"scaling.manifest={path}")
    about = f"{path}: HorizontalPodAutoscaler chat"
    start, _, line = notes[0].partition("; to scale replicas: ")
    assert start == (
        f"{about} is for the replicas of Deployment chat, but this run has no service: "
        "it scales the nodes of pool 'default', 2..6"
    )
    assert notes[1] == f"pool 'default' begins with 6 nodes, not num_nodes=16: {about} says 2..6 nodes"
    assert (config["cluster"]["min_nodes"], config["cluster"]["max_nodes"]) == (2, 6)
    given = shlex.split(line)[3:]
    assert {"service.replicas=2", "service.cpus_per_gpu=4.0", "service.max_replicas=6"} <= set(given)
    config, notes = ran(tmp_path / "mended", capsys, *given)
    assert notes == []
    assert (config["service"]["min_replicas"], config["service"]["max_replicas"]) == (2, 6)


def test_a_node_pool_may_scale_nodes(manifest, tmp_path, capsys):
    path = manifest({**POOL, "spec": {**POOL["spec"], "limits": {"nodes": "20"}}})  # type: ignore[dict-item]
    config, notes = ran(tmp_path / "run", capsys, "scaling=kubernetes", f"scaling.manifest={path}")
    assert notes == []
    assert [config["cluster"][key] for key in ("num_nodes", "min_nodes", "max_nodes")] == [16, 0, 20]


def test_what_a_metric_stands_for_is_told_by_the_run(manifest, tmp_path, capsys):
    path = manifest(changed_hpa(metric="cpu", low=1))
    given = ["workload=none", "requests=poisson", "scaling=kubernetes", f"scaling.manifest={path}"]
    _, notes = ran(tmp_path / "run", capsys, *given, "scaling.metrics.cpu=concurrency_per_replica")
    assert notes == [
        f"{path}: document 1: spec.metrics[0].resource.target.averageUtilization: cpu at 60% is taken as "
        "concurrency_per_replica at 0.6 a replica: replicas have no model of cpu"
    ]


def asking(gpus: int, replicas: int, **spec: Any) -> dict[str, Any]:
    """The Deployment, of so many GPUs a replica and nothing else."""
    container = {"name": "a", "readinessProbe": {}, "resources": {"limits": {"nvidia.com/gpu": gpus}}}
    template = {"spec": {"terminationGracePeriodSeconds": 60, "containers": [container], **spec}}
    return {**DEPLOYMENT, "spec": {"replicas": replicas, "template": template}}


def test_what_the_deployment_says_and_the_service_does_not_is_told_by_the_run(manifest, tmp_path, capsys):
    path = manifest(asking(gpus=4, replicas=5), changed_hpa(metric="gpu_utilisation_frac", low=1))
    given = ["workload=none", "requests=poisson", "scaling=kubernetes", f"scaling.manifest={path}"]
    _, notes = ran(tmp_path / "run", capsys, *given, "service.drain_timeout_s=60")
    set_words = ["service.gpus_per_replica=4", "service.replicas=5", "service.name=chat"]
    probe = f"{path}: document 1: spec.template.spec.containers[0].readinessProbe: "
    assert notes == [
        f"{path}: Deployment chat asks for 4 GPUs a replica, 5 replicas, the name chat: the run's service has "
        f"1, 1, service: set {' '.join(set_words)}",
        f"{probe}when a replica is ready is up to service.startup",
    ]
    _, notes = ran(tmp_path / "mended", capsys, *given, "service.drain_timeout_s=60", *set_words)
    assert [note.startswith(probe) for note in notes] == [True]


@pytest.mark.parametrize(
    ("service", "document", "notes"),
    [
        ({"name": "chat", "drain_timeout_s": 60.0, "max_replicas": 2, "replicas": 2}, asking(1, 5), []),
        (
            {"name": "chat", "drain_timeout_s": 60.0, "max_replicas": 2},
            asking(1, 5),
            ["asks for 2 replicas: the run's service has 1: set service.replicas=2"],
        ),
        (
            {"name": "chat"},
            asking(1, 1, nodeSelector={"a": "b"}),
            ["can't be a service here: ", "spec.template.spec.nodeSelector={'a': 'b'}: unsupported field"],
        ),
    ],
)
def test_the_deployment_is_held_to_what_the_service_may_be(manifest, service, document, notes):
    path = manifest(document, changed_hpa(metric="gpu_utilisation_frac", low=1))
    scaling = {"name": "kubernetes", "manifest": path}
    _, told = described({"requests": {"name": "poisson"}, "service": service, "scaling": scaling})
    said = [note for note in told if "Deployment chat " in note]
    assert len(said) == bool(notes)
    assert all(words in said[0] for words in notes)


def test_sites_and_services_are_told_where_they_stand(manifest):
    path = manifest(asking(gpus=4, replicas=5), changed_hpa(metric="gpu_utilisation_frac", low=1))
    own = {"requests": {"name": "poisson"}, "drain_timeout_s": 60.0}
    services = {"a": own, "b": {**own, "sites": {"x": {"pool": "edge"}}}}
    _, told = described({"services": services, "scaling": {"name": "kubernetes", "manifest": path}})
    said = [note.partition(": set ")[2] for note in told if "Deployment chat " in note]
    assert said == [
        "services.a.gpus_per_replica=4 services.a.replicas=5",
        "services.b.sites.x.gpus_per_replica=4",
    ]


def test_a_target_that_is_not_in_the_file_is_told(manifest, tmp_path, capsys):
    target = {"scaleTargetRef": {"kind": "Deployment", "name": "chatt"}}
    hpa = changed_hpa(metric="gpu_utilisation_frac", low=1)
    path = manifest(asking(gpus=4, replicas=5), {**hpa, "spec": {**hpa["spec"], **target}})
    note = "spec.scaleTargetRef.name=chatt: no such Deployment in the file; did you mean chat? Known: chat"
    assert main(["show", path]) == 0
    assert f"  note: {note}\n" in capsys.readouterr().out
    given = ["workload=none", "requests=poisson", "scaling=kubernetes", f"scaling.manifest={path}"]
    _, notes = ran(tmp_path / "run", capsys, *given)
    assert notes == [f"{path}: document 2: {note}"]
    target["scaleTargetRef"]["kind"] = "StatefulSet"
    assert main(["show", manifest(DEPLOYMENT, {**hpa, "spec": {**hpa["spec"], **target}})]) == 0
    assert "no such" not in capsys.readouterr().out


def changed_hpa(metric: str, low: int) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": 60}
    metrics = [
        {"type": "Resource", "resource": {"name": "nvidia.com/gpu" if "gpu" in metric else metric, "target": target}}
    ]
    return {**HPA, "spec": {**HPA["spec"], "minReplicas": low, "metrics": metrics}}  # type: ignore[dict-item]


@pytest.mark.parametrize("page", ["docs/manifests.md", "conf/scaling/kubernetes.yaml"])
def test_the_commands_that_are_written_leave_the_pool_to_the_service(page):
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if "scaling.manifest=" in line and "requests=" in line]
    assert commands
    assert all("workload=none" in line for line in commands)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nowhere.yaml"], "error: nowhere.yaml: can't be read: No such file"),
        (["show", "a", "metric={}"], "error: metric={}: unknown option of show; did you mean metrics"),
        (["show", "a", "metrics=1"], "error: metrics=1: must be a mapping"),
        (["export", "nowhere"], "error: nowhere/config.yaml: can't be read"),
        (["shew"], "python -m simulator.manifests show FILE"),
    ],
)
def test_misuse(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_help(capsys):
    assert main(["export", "--help"]) == 0
    assert "export RUN_FOLDER" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--export", "export=manifests.yaml: scaling=static and no service: there is nothing to write"),
        ("--export=a/b", "export=a/b: must be a file's name, without a folder"),
    ],
)
def test_what_can_not_be_exported_is_told_before_the_run(flag, message, tmp_path, capsys):
    assert simulate(["workload.num_jobs=10", flag, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
    assert not (tmp_path / "run").exists()


def test_a_run_and_its_export(manifest, tmp_path, capsys):
    path, folder = manifest(DEPLOYMENT, HPA), tmp_path / "run"
    given = ["requests=poisson", "requests.rate_per_s=1", "requests.duration_s=120", "service.max_replicas=6"]
    jobs = tmp_path / "jobs.yaml"
    jobs.write_text(yaml.safe_dump(JOB))
    given += ["workload=kubeflow", f"workload.path={jobs}", "service.name=chat", "service.drain_timeout_s=30"]
    given += ["scaling=kubernetes", f"scaling.manifest={path}", "scaling.metrics.in_flight=concurrency_per_replica"]
    given += ["figures=false", "check=true", "--export=own.yaml", f"hydra.run.dir={folder}"]
    assert simulate(given) == 0, capsys.readouterr().err
    assert yaml.safe_load((folder / "config.yaml").read_text())["scaling"]["name"] == "kubernetes_hpa"
    Path(path).unlink()  # the run knows all by itself
    out = tmp_path / "out.yaml"
    assert main(["export", str(folder), f"out={out}", "jobs=all"]) == 0
    documents = list(yaml.safe_load_all(out.read_text()))
    assert [each["kind"] for each in documents] == ["Deployment", "HorizontalPodAutoscaler", "PyTorchJob"]
    assert list(yaml.safe_load_all((folder / "own.yaml").read_text())) == documents[:2]
    assert documents[1]["spec"]["maxReplicas"] == 6
    assert documents[1]["spec"]["metrics"][0]["pods"]["target"]["averageValue"] == "1500m"
    assert "# image: IMAGE stands for your own" in out.read_text()
    assert main(["export", str(folder), "jobs=bart"]) == 2
    assert "jobs=bart: no such job; did you mean bert?" in capsys.readouterr().err
    capsys.readouterr()
    assert main(["show", str(out)]) == 0
