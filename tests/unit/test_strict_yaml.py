"""A campaign file cannot run code, fill the memory, or say one thing twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprocess.campaign import load_campaign
from reprocess.errors import ConfigurationError
from reprocess.strict_yaml import NODES_MAX, parse_yaml, read_yaml

LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGED = "m0: &m0 {k0: 1}\n" + "".join(
    f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}], k{n}: 1}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, f"more than {NODES_MAX} values"),
        (LAUGHS + "years: *a11\n", f"more than {NODES_MAX} values"),
        (MERGED, f"more than {NODES_MAX} values"),
        ("a: &a [*a]\n", "holds itself"),
        ("a: &a {b: *a}\n", "holds itself"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("{a: " * 3000, "nested too deeply"),
        ("a: !!python/object/apply:os.system ['touch owned']\n", "could not determine a constr"),
        ("a: !!python/name:os.system\n", "could not determine a constructor"),
        ("!!python/object/new:type\nargs: [x, !!python/tuple [], {}]\n", "could not determine"),
        ("name: one\nname: two\n", "the key 'name' twice, first at line 1"),
        ("site: {code: A, code: B}\n", "the key 'code' twice"),
        ("a: " + "9" * 5000, "holds a value that is none"),
        ("a: " + "9" * 20_000, "a value of 20000 characters"),
        ("a: " + "1:1" * 500, "a value of"),
        ("a: 2021-13-45\n", "holds a value that is none"),
        ("a: *nothing\n", "undefined alias"),
        ("a: [1, 2\n", "is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "single document"),
        ("a: \x00\n", "special characters"),
        ("? [1, 2]\n: 3\n? {a: 1}\n: 4\n", "unhashable"),
    ],
    ids=lambda value: str(value)[:18],
)
@pytest.mark.timeout(60)
def test_what_a_file_may_not_do(tmp_path, text, says):
    path = tmp_path / "campaign.yaml"
    path.write_bytes(text.encode())

    with pytest.raises(ConfigurationError, match=r"campaign\.yaml") as error:
        load_campaign(path)
    assert says in str(error.value)
    assert len(str(error.value)) < 2000
    assert not (tmp_path / "owned").exists()


def test_what_a_file_may_do():
    text = "a: &lens {x: 1, y: 2}\nb: *lens\nc: {<<: *lens, y: 3}\nd: 2021-01-01T00:00:00Z\n"
    document = parse_yaml(text, "test")
    assert document["b"] == {"x": 1, "y": 2}
    assert document["c"] == {"x": 1, "y": 3}
    assert parse_yaml("", "test") is None


@pytest.mark.parametrize("text", ["+12:00", "-03:30", "1:00", "190:20:30.15"])
def test_what_looks_like_base_60_is_text(text):
    assert parse_yaml(f"a: {text}", "test") == {"a": text}


def test_a_zone_needs_no_quotes(tmp_path, campaign_document):
    import yaml

    document = campaign_document()
    document["archive"]["timezone"] = "ZONE"
    path = tmp_path / "campaign.yaml"
    path.write_text(yaml.safe_dump(document).replace("ZONE", "+12:00"))
    assert load_campaign(path).archive.timezone == "+12:00"
    with pytest.raises(ConfigurationError, match="cadence_s: found '1:00', expected"):
        load_campaign(path, ["cadence_s=1:00"])


def test_a_file_without_end(tmp_path):
    link = tmp_path / "campaign.yaml"
    link.symlink_to("/dev/zero")
    with pytest.raises(ConfigurationError, match="more than 4 MiB"):
        read_yaml(link)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    "override", ["years=" + "[" * 5000, "years=&a [*a]", "years=" + "9" * 9999]
)
def test_an_override_is_no_way_around(tmp_path, campaign_document, override):
    import yaml

    path = tmp_path / "campaign.yaml"
    path.write_text(yaml.safe_dump(campaign_document()))
    with pytest.raises(ConfigurationError, match="years"):
        load_campaign(path, [override])


@given(st.text(max_size=60))
def test_any_text_is_a_value_or_a_configuration_error(text):
    try:
        parse_yaml(text, "test")
    except ConfigurationError as error:
        assert str(error).startswith("test: ")  # noqa: PT017


@given(st.binary(max_size=60).map(lambda data: b"a: " + data))
def test_any_bytes_are_a_value_or_a_configuration_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(data)
    try:
        read_yaml(path)
    except ConfigurationError as error:
        assert "bytes.yaml" in str(error)  # noqa: PT017
