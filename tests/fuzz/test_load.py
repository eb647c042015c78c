"""Whatever stands in a file: a Configuration, or an IntentError; never a traceback."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.backends.files import load, load_lenient
from isthmus.backends.files.edit import disconnect
from isthmus.errors import IntentError
from isthmus.model.intent import Configuration

WORDS = st.sampled_from(
    [
        *("apiVersion", "kind", "metadata", "spec", "name", "id", "attachments", "site", "vpc", "subnets", "cidr"),
        *("gateway", "gateways", "except", "fabric", "tls", "northbound", "southbound", "type", "zone", "addressPools"),
        *("link", "transit", "owner", "allow", "bfd", "insecure", "caFile", "<<", "*", "ovn", "east", "west", "r"),
        *("isthmus.dev/v1alpha1", "Fabric", "Site", "Interconnect", "10.0.0.0/24", "fd00::/64", "10.0.0.1"),
        *("unix:x", "ssl:h:1", "tcp:[::1]:1", "169.254.128.0/18", "fd69::/32", "a/../b", "é", "\u202e"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=5),
    max_leaves=20,
)
NAMES = st.sampled_from(["a", "b"])
SUBNET = st.sampled_from(["*", "x", "y"]) | st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "z"])}, optional={"cidr": WORDS, "gateway": WORDS, "id": WORDS}
)
ATTACHMENT = st.fixed_dictionaries(
    {"site": NAMES, "vpc": WORDS | NAMES, "subnets": st.lists(SUBNET, max_size=3)},
    optional={"name": NAMES, "except": st.lists(WORDS, max_size=2), "gateways": st.lists(NAMES, max_size=2)},
)


SPOILT_VPC = NAMES | VALUES | st.dictionaries(st.sampled_from(["name", "id", "project"]), NAMES | VALUES)
SPOILT_SUBNET = SUBNET | VALUES | st.dictionaries(st.sampled_from(["name", "id", "cidr", "gateway"]), WORDS | VALUES)
SPOILT_ATTACHMENT = VALUES | st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("site", "name"), NAMES | VALUES),
        **dict.fromkeys(("except", "gateways", "securityGroups"), st.lists(NAMES | VALUES, max_size=3) | VALUES),
        **{"vpc": SPOILT_VPC, "subnets": st.lists(SPOILT_SUBNET, max_size=3) | VALUES, "unknown": VALUES},
    },
)
"""Fields of an attachment, each as it should be, wrong or missing."""


def document(kind: str, spec: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "apiVersion": st.just("isthmus.dev/v1alpha1"),
            "kind": st.just(kind),
            "metadata": st.fixed_dictionaries({"name": NAMES}),
            "spec": spec,
        }
    )


DATABASES = {"northbound": st.just(["unix:n"]), "southbound": st.just(["unix:s"])}
DOCUMENTS = st.one_of(
    VALUES,
    document("Fabric", st.fixed_dictionaries(DATABASES, optional={"addressPools": VALUES, "owner": NAMES})),
    document(
        "Site",
        st.fixed_dictionaries(
            {**DATABASES, "northbound": st.lists(WORDS, min_size=1, max_size=2), "type": st.just("ovn")},
            optional={"zone": NAMES, "gateways": st.lists(NAMES, max_size=2), "tls": VALUES, "bfd": VALUES},
        ),
    ),
    document("Interconnect", st.fixed_dictionaries({"attachments": st.lists(ATTACHMENT, max_size=3)})),
    document(
        "Interconnect",
        st.fixed_dictionaries(
            {"attachments": st.lists(ATTACHMENT | SPOILT_ATTACHMENT, max_size=3)}, optional={"fabric": NAMES | VALUES}
        ),
    ),
    document(
        "Site",
        st.dictionaries(
            st.sampled_from(["type", "northbound", "southbound", "zone", "gateways", "tls", "bfd", "mtu", "insecure"]),
            VALUES | st.lists(WORDS, max_size=2) | st.dictionaries(WORDS, VALUES | WORDS, max_size=3),
        ),
    ),
)


def reads(data: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"a{suffix}"
        path.write_bytes(data)
        listing = load_lenient(path)
        try:
            found = load(path)
        except IntentError as error:
            assert error.problems and all(p.code.isidentifier() and p.message for p in error.problems)
            assert listing.problems
        else:
            assert isinstance(found, Configuration)
            assert listing.listed and not listing.refused and found == listing.configuration
        try:
            edit = disconnect(path, "a", subnet="x")
        except IntentError:
            return
        edit.write()
        if edit.new is not None and edit.new.strip():
            assert len(load_lenient(path).problems) == 0


@given(st.binary(max_size=200), st.sampled_from([".yaml", ".json"]))
def test_any_bytes(data: bytes, suffix: str) -> None:
    reads(data, suffix)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,?<\n \t0.~=\\", max_size=60))
def test_any_text_of_yaml_signs(text: str) -> None:
    reads(text.encode(), ".yaml")


@settings(max_examples=300, deadline=None)
@given(st.lists(DOCUMENTS, max_size=5))
def test_any_documents_in_yaml(documents: list[Any]) -> None:
    reads(yaml.safe_dump_all(documents, allow_unicode=True).encode("utf-8", "surrogatepass"), ".yaml")


@settings(deadline=None)
@given(DOCUMENTS)
def test_any_document_in_json(value: Any) -> None:
    reads(json.dumps(value).encode(), ".json")
