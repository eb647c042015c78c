"""The built-in lab of a cloud with guests and a Kubernetes with Pods beside it."""

from __future__ import annotations

import pytest

from isthmus.lab import spec
from isthmus.lab.lab import Lab
from isthmus.lab.proof import prove
from isthmus.lab.pytest_plugin import unique_name
from isthmus.model.intent import Configuration

from .test_lab_leaves_nothing import assert_nothing_left, inodes, links

pytestmark = [pytest.mark.lab, pytest.mark.full, pytest.mark.xdist_group("guests")]


def test_guests_and_namespaces_reach_what_is_native_to_them_and_nothing_else_and_nothing_is_left() -> None:
    before = links()
    with Lab.up(spec.load("cluster-to-cloud", name=unique_name())) as lab:
        held = inodes(lab.state.keeper)
        proof = prove(lab, Configuration(), "not connected")
        assert {m.site for m in lab.machines if m.guest} == {"cloud"}
        assert {m.site for m in lab.machines if m.pod} == {"cluster"}
        assert len(proof.checks) > 200
        assert proof.differences == ()
    assert_nothing_left(lab.name, held, before)
