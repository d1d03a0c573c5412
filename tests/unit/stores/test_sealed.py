import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprocess.stores.sealed import SEAL, seal, unseal

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.text(alphabet=st.characters(exclude_categories=["Cs"])), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
documents = st.dictionaries(
    st.text(alphabet=st.characters(exclude_categories=["Cs"])).filter(lambda key: key != SEAL),
    values, max_size=4,
)  # fmt: skip


@given(documents)
def test_what_is_sealed_comes_out_again_and_always_as_the_same_bytes(document):
    data = seal(document)
    assert unseal(data) == json.loads(json.dumps(document))
    assert seal(dict(reversed(document.items()))) == data == seal(unseal(data))


@given(documents, st.data())
def test_one_bit_changes_the_document_or_breaks_the_seal(document, data):
    sealed = bytearray(seal(document))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << (bit % 8)
    try:
        found = unseal(bytes(sealed))
    except ValueError:
        return
    # The seal holds: then no value changed, and the bytes are not those that a run writes.
    assert found == json.loads(json.dumps(document))
    assert seal(found) != bytes(sealed)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "a list, expected a mapping"),
        (b"{}", "without the sha256"),
        (b'{"a": 1, "sha256": "0"}', "damaged or edited"),
        (b'{"a": 1, "sha256": 7}', "damaged or edited"),
    ],
)
def test_what_is_refused(data, says):
    with pytest.raises(ValueError, match=says):
        unseal(data)


def test_a_seal_may_be_optional_but_never_broken():
    assert unseal(b'{"a": 1}', required=False) == {"a": 1}
    with pytest.raises(ValueError, match="damaged or edited"):
        unseal(b'{"a": 1, "sha256": "0"}', required=False)


def test_what_json_has_no_form_for_is_text():
    from datetime import date

    assert unseal(seal({"day": date(2021, 6, 1), "years": {2021: (1, 2)}})) == {
        "day": "2021-06-01", "years": {"2021": [1, 2]},
    }  # fmt: skip
