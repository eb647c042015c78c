"""Whatever a container runtime sends, it gets an answer of the specification."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from isthmus.agent import cni

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
RESULT = st.fixed_dictionaries({}, optional={name: JSON for name in ("interfaces", "ips", "routes", "dns")})
ATTACHMENTS = st.lists(st.fixed_dictionaries({}, optional={"containerID": JSON, "ifname": JSON}), max_size=3)
CONFIG = st.fixed_dictionaries(
    {},
    optional={
        "cniVersion": st.sampled_from(cni.VERSIONS) | JSON,
        "name": JSON,
        "prevResult": RESULT | JSON,
        "cni.dev/valid-attachments": ATTACHMENTS | JSON,
    },
)
WORD = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
WORDS = st.tuples(
    st.sampled_from(["ADD", "DEL", "CHECK", "STATUS", "GC"]) | WORD,
    st.just("c1") | WORD,
    st.just("/run/netns/x") | WORD,
    st.just("eth0") | WORD,
    st.just("K8S_POD_NAMESPACE=red;K8S_POD_NAME=web-0") | WORD,
    WORD,
)
BODY = st.tuples(WORDS, (CONFIG | JSON).map(json.dumps)).map(lambda both: "\0".join([*both[0], both[1]]).encode())
WIRED = cni.Wiring("web-0.red", "u1", "0a:00:00:00:00:01", (), (), 1442)


@given(BODY | st.binary(max_size=64), st.booleans())
def test_any_request_is_read_or_refused(body: bytes, again: bool) -> None:
    question = cni.Question(body, again)
    try:
        request = question.read()
    except cni.Refused as refused:
        assert json.loads(question.refusal(refused).partition(b"\n")[2])["code"] == refused.code
        assert 0 < refused.code < 100
        assert str(refused)
        return
    assert cni.result(request, WIRED)["cniVersion"] == request.version
    cni.expected_routes(request, WIRED)
