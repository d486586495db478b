"""Documents, fields, quantities and pods."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads import WorkloadError
from workloads.manifests import Fields, ManifestError, load_documents
from workloads.manifests.lines import line_of
from workloads.manifests.pods import Pod, read_template, shares, write_template
from workloads.manifests.quantities import (
    GIB,
    format_bytes,
    format_quantity,
    format_seconds,
    parse_quantity,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", Fraction(1, 2)),
        ("4Gi", Fraction(4 * 2**30)),
        ("1.5Ki", Fraction(1536)),
        ("2", Fraction(2)),
        (2, Fraction(2)),
        (0.1, Fraction(1, 10)),
        ("1e3", Fraction(1000)),
        ("12E", Fraction(12 * 10**18)),
        ("1E2", Fraction(100)),
        ("100u", Fraction(1, 10_000)),
        ("3.", Fraction(3)),
        (".5", Fraction(1, 2)),
        ("-1k", Fraction(-1000)),
    ],
)
def test_quantities(text, value):
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "4GB", "4 Gi", "1e", "m", "1K", "0x10", "1_000"])
def test_what_is_no_quantity(text):
    with pytest.raises(ValueError, match="no quantity such as 2, 500m or 4Gi"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "value"), [("5m", 300), ("1h30m", 5400), ("0", 0), ("500ms", 0.5), ("1.5s", 1.5), ("720h", 2_592_000)]
)
def test_durations(text, value):
    assert parse_seconds(text) == value


@pytest.mark.parametrize("text", ["5", "", "m5", "-5s", "5 m", "1d"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="no duration such as 30s"):
        parse_seconds(text)


@given(st.decimals(0, 10**9, places=9))
def test_a_quantity_comes_back(value):
    assert parse_quantity(format_quantity(Fraction(value))) == Fraction(value)


@given(st.integers(0, 2**60))
def test_bytes_come_back(value):
    assert parse_quantity(format_bytes(value)) == value


@given(st.integers(0, 10**9))
def test_durations_come_back(milliseconds):
    assert parse_seconds(format_seconds(milliseconds / 1000)) == milliseconds / 1000


def test_what_a_quantity_cannot_say():
    with pytest.raises(ValueError, match="more than the nine places"):
        format_quantity(1e-10)
    with pytest.raises(ValueError, match="not a whole number of milliseconds"):
        format_seconds(0.0001)


def test_documents(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("---\na: 1\n---\n---\nkind: List\nitems: [{b: 2}, {kind: X, metadata: {name: n}}]\n")
    documents = load_documents(file)
    assert [each.place for each in documents] == [
        f"{file}: document 1",
        f"{file}: document 3: items[0]",
        f"{file}: document 3: items[1]",
    ]
    assert (documents[2].kind, documents[2].name) == ("X", "n")


def test_lines(tmp_path):
    """Of the key, of the mapping where it isn't there; of what an anchor names, where that stands."""
    file = tmp_path / "a.yaml"
    file.write_text("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n\n  c: 3\ne: *x\nf:\n- g: 1\n  8: 2\n- *x\n---\na: 1\n")
    first, second = load_documents(file)
    assert first.content["d"] == {"b": 1, "c": 3}
    assert first.content["e"] is first.content["a"]
    places = {
        ("a", "b"): 1, ("d", "c"): 5, ("d", "b"): 3, ("e", "b"): 1, ("f", 0, "g"): 8, ("f", 0, 8): 9, ("f", 0, "h"): 8,
        ("f", 1, "c"): 1, ("f",): 7, ("g",): 1,
    }  # fmt: skip
    for (*inside, key), line in places.items():
        content = first.content
        for each in inside:
            content = content[each]
        assert line_of(content, key) == line, (inside, key)
    assert first.where("e") == f"{file}:6: document 1"
    assert second.where("a") == second.where() == f"{file}:12: document 2"
    assert line_of({"a": 1}, "a") is None


def test_a_needed_field_that_may_be_misspelt():
    with pytest.raises(ManifestError, match=r"spec\.replicas: is needed; there is spec\.repicas, misspelt\?$"):
        of({"repicas": 1}).whole("replicas")
    with pytest.raises(ManifestError, match=r"spec\.replicas: is needed$"):
        of({"paused": True}).whole("replicas")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "a: 1\na: 2\n", r"a\.yaml:2:1: 'a' is there twice"),
        ("a.yaml", "a: [1\n", r"a\.yaml:2:1: "),
        ("a.json", '{"a": 1, "a": 2}', r"a\.json: 'a' is there twice"),
        ("a.json", '{"a": ', r"a\.json:1:7: Expecting value"),
        ("a.yaml", "---\n", r"a\.yaml: holds no document"),
    ],
)
def test_bad_documents(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=message):
        load_documents(tmp_path / name)


def test_no_such_file():
    with pytest.raises(WorkloadError, match=r"nowhere\.yaml: can't be read: No such file"):
        load_documents("nowhere.yaml")


def of(content):
    return Fields(content, "a.yaml: document 1", "spec")


@pytest.mark.parametrize(
    ("content", "read", "message"),
    [
        ({"foo": 1, "bar": 2}, lambda f: f.whole("bar"), r"spec\.foo: unsupported field; known: bar"),
        ({"repicas": 1}, lambda f: f.whole("replicas", 1), "spec.repicas: unsupported field; did you mean replicas"),
        ({"a/b": 1}, lambda f: None, r"spec\[a/b\]: unsupported field$"),
        ({"a": True}, lambda f: f.whole("a"), "spec.a=true: must be a whole number, 0 or more"),
        ({"a": "3"}, lambda f: f.whole("a"), "spec.a=3: must be a whole number, 0 or more"),
        ({"a": 9}, lambda f: f.whole("a", least=1, most=5), r"spec\.a=9: must be a whole number, in 1\.\.5"),
        ({"a": float("nan")}, lambda f: f.number("a"), "spec.a=nan: must be a number"),
        ({"a": -1.5}, lambda f: f.number("a", least=0), "spec.a=-1.5: must be 0 or more"),
        ({"a": 1}, lambda f: f.flag("a"), "spec.a=1: must be true or false"),
        ({"a": 1}, lambda f: f.text("a"), "spec.a=1: must be a text, in quotes"),
        ({"a": "x"}, lambda f: f.text("a", among=("b", "c")), "spec.a=x: must be one of b, c"),
        ({"a": "x"}, lambda f: f.number_in_text("a"), "spec.a=x: must be a number in quotes"),
        ({"a": "1G1"}, lambda f: f.quantity("a"), "spec.a=1G1: 1G1 is no quantity"),
        ({"a": "-1"}, lambda f: f.quantity("a"), "spec.a=-1: -1 is less than 0"),
        ({"a": 5}, lambda f: f.seconds("a"), "spec.a=5: 5 is no duration"),
        ({"a": []}, lambda f: f.section("a"), r"spec\.a=\[\]: must be a mapping"),
        ({"a": {}}, lambda f: f.items("a"), r"spec\.a=\{\}: must be a list"),
        ({"a": [1]}, lambda f: f.items("a"), r"spec\.a\[0\]=1: must be a mapping"),
        ({"a": [1]}, lambda f: f.texts("a"), r"spec\.a=\[1\]: must be a list of texts"),
        ({"a": None}, lambda f: f.whole("a"), "spec.a: is needed"),
        ({"a": True}, lambda f: f.only("a", False, "why"), "spec.a=true: unsupported value: must be false: why"),
        ({"a": 1}, lambda f: f.refuse("a", "why"), "spec.a=1: unsupported field: why"),
    ],
)
def test_fields_refuse(content, read, message):
    with pytest.raises(ManifestError, match=f"^a.yaml: document 1: {message}"), of(content) as fields:
        read(fields)


def test_fields_note_what_has_no_effect():
    with of({"a": 1, "c": {"d": 2}}) as fields, fields.section("c") as inner:
        fields.note("is of no use", "a", "b")
        inner.note("neither", "d")
    assert fields.notes == ["spec.a: is of no use", "spec.c.d: neither"]


def template(resources, **spec):
    return {"spec": {"containers": [{"name": "a", "image": "b", "resources": resources}], **spec}}


def test_a_pod():
    fields = of(
        template(
            {"requests": {"cpu": "500m", "memory": "4Gi"}, "limits": {"cpu": 1, "nvidia.com/gpu": 2}},
            terminationGracePeriodSeconds=60,
            tolerations=[{"key": "nvidia.com/gpu"}],
        )
    )
    pod = read_template(fields)
    assert pod == Pod(2, Fraction(1, 2), Fraction(4 * GIB), 60.0)
    assert shares(pod, 2) == {"cpus_per_gpu": 0.25, "memory_gib_per_gpu": 2.0}
    assert [note.partition(":")[0] for note in fields.notes] == [
        "spec.spec.tolerations",
        "spec.spec.containers[0].resources.limits.cpu",
    ]


@pytest.mark.parametrize(
    ("resources", "spec", "message"),
    [
        ({"limits": {"nvidia.com/gpu": "500m"}}, {}, "must be a whole number of GPUs"),
        ({"requests": {"nvidia.com/gpu": 1}}, {}, "requests.nvidia.com/gpu.=1: must equal .*limits"),
        ({"requests": {"cpu": 2}, "limits": {"cpu": 1}}, {}, r"limits\.cpu=1: must not be less than .*requests\.cpu"),
        ({"limits": {"ephemeral-storage": "1Gi"}}, {}, r"limits\.ephemeral-storage: unsupported field"),
        ({}, {"nodeSelector": {"a": "b"}}, r"nodeSelector=.*: unsupported field: say where it may run"),
        ({}, {"priorityClassName": "high"}, r"spec\.spec\.priorityClassName: unsupported field"),
        ({}, {"initContainers": []}, r"spec\.spec\.initContainers: unsupported field"),
        ({"claims": []}, {}, r"resources\.claims: unsupported field"),
    ],
)
def test_pods_that_are_refused(resources, spec, message):
    with pytest.raises(ManifestError, match=message):
        read_template(of(template(resources, **spec)))


@given(st.integers(1, 16), st.integers(0, 10**6), st.integers(0, 2**50))
def test_a_template_comes_back(gpus, thousandths, num_bytes):
    pod = Pod(gpus, Fraction(thousandths, 1000), Fraction(num_bytes))
    assert read_template(of(write_template(gpus, **shares(pod, gpus), image="a"))) == pod


def test_a_template_that_cannot_be():
    with pytest.raises(ValueError, match=r"cpus_per_gpu=0\.3333: 1 GPUs make no whole number of thousandths"):
        write_template(1, 0.3333, 0.0, "a")
    with pytest.raises(ValueError, match=r"memory_gib_per_gpu=0\.1: 1 GPUs make no whole number of bytes"):
        write_template(1, 0.0, 0.1, "a")
