"""How Isthmus runs in a cluster, without one; `tests/lab/test_install.py` runs it."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.agent import netlink
from isthmus.api import rbac, workloads
from isthmus.cli import agent, main

Json = dict[str, Any]


def container(workload: Json) -> Json:
    (found,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("workload", workloads.objects(), ids=lambda w: w["kind"])
def test_what_it_mounts_it_has_and_what_it_has_it_mounts(workload: Json) -> None:
    volumes = {volume["name"] for volume in workload["spec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container(workload)["volumeMounts"]} == volumes
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"] == labels


@pytest.mark.parametrize("workload", workloads.objects(), ids=lambda w: w["kind"])
def test_the_command_line_takes_what_it_is_started_with(workload: Json) -> None:
    words = [word.replace("$(NODE)", "192.0.2.1") for word in container(workload)["args"]]
    parser = main.Parser(prog=words[0])
    main._common(parser)
    main._module(words[0]).configure(parser)
    parser.parse_args(words[1:])


def test_the_agent_finds_what_the_command_line_expects_where_it_expects_it() -> None:
    mounted = {mount["mountPath"] for mount in container(workloads.daemonset())["volumeMounts"]}
    folders = {agent.CNI["plugins"], agent.CNI["networks"], agent.CNI["socket"].rpartition("/")[0]}
    assert folders <= mounted
    assert netlink.SETTINGS in mounted


def test_no_key_of_the_cluster_is_in_a_node_s_agent_and_none_of_a_node_in_serve() -> None:
    assert workloads.daemonset()["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    serve = workloads.deployment()["spec"]["template"]["spec"]
    assert serve["serviceAccountName"] == rbac.ACCOUNT["name"]
    assert not [volume for volume in serve["volumes"] if "hostPath" in volume]
