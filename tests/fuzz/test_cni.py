"""Whatever a container runtime sends, it gets an answer of the specification."""

from __future__ import annotations

from typing import Any

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
ENVIRONMENT = st.fixed_dictionaries(
    {"COMMAND": st.sampled_from(["ADD", "DEL", "CHECK", "STATUS", "GC"]) | JSON},
    optional={
        "CONTAINERID": st.just("c1") | JSON,
        "NETNS": st.just("/run/netns/x") | JSON,
        "IFNAME": st.just("eth0") | JSON,
        "ARGS": st.just("K8S_POD_NAMESPACE=red;K8S_POD_NAME=web-0") | JSON,
    },
)
WIRED = cni.Wiring("web-0.red", "u1", "0a:00:00:00:00:01", (), (), 1442)


@given(JSON | st.fixed_dictionaries({"config": CONFIG | JSON, "environment": ENVIRONMENT | JSON}))
def test_any_request_is_read_or_refused(data: Any) -> None:
    try:
        request = cni.read(data)
    except cni.Refused as refused:
        assert 0 < refused.code < 100
        assert str(refused)
        return
    assert cni.result(request, WIRED)["cniVersion"] == request.version
    cni.expected_routes(request, WIRED)
