"""What `disconnect` does with names: mistyped, cut before, out of reach."""

from __future__ import annotations

import pytest
import yaml

from deployment import Deployment, attach
from snapshots import owned

from .conftest import Deploy

EAST = attach("east", "a", "web", "db")
FAR = attach("west", "a", "*", name="far")


def disconnect(world: Deployment, words: str) -> tuple[int, str, str]:
    """Exit code, and code and remedy of the first error."""
    code, found = world.run("disconnect", *words.split(), "--timeout", "8")
    error = found.get("errors", [{"code": "", "remedy": ""}])[0]
    return code, error["code"], error["remedy"]


def text(world: Deployment) -> str:
    return (world.config / "interconnects.yaml").read_text()


def excepted(world: Deployment) -> list[str]:
    """What `far` leaves out."""
    documents = list(yaml.safe_load_all(text(world)))
    return list(documents[0]["spec"]["attachments"][-1].get("except", ()))


@pytest.mark.parametrize(
    "words, code, remedy",
    [
        ("--site est", "UnknownAttachment", "did you mean east?"),
        ("--site moon", "UnknownAttachment", "it has east, far"),
        ("--site west", "UnknownAttachment", "name it as the document does: far"),
        ("--site far --subnet jbos", "UnknownSubnet", "did you mean jobs?"),
        ("--subnet wbe", "UnknownSubnet", "did you mean web?"),
        ("--site far --subnet *", "InvalidSubnet", "take all out with --site S alone"),
        ("--site east --subnet *", "InvalidSubnet", "take all out with --site S alone"),
    ],
)
def test_a_name_that_nobody_knows_is_refused_and_changes_nothing(
    pair: Deployment, words: str, code: str, remedy: str
) -> None:
    pair.join("t", EAST, FAR)
    pair.apply()
    before, written = pair.northbound(), text(pair)
    done, said, meant = disconnect(pair, f"t {words}")
    assert (done, said) == (2, code) and remedy in meant
    assert pair.northbound() == before and text(pair) == written


def test_a_subnet_that_the_text_names_otherwise_is_not_taken_for_cut(pair: Deployment) -> None:
    switches = pair.sites["west"].nb.snapshot("Logical_Switch")["Logical_Switch"]
    ids = {row["name"]: uuid for uuid, row in switches.items()}
    pair.join("t", EAST, attach("west", "a", {"id": ids["pods"]}, name="far"))
    pair.apply()
    assert disconnect(pair, "t --site far --subnet pods")[::2] == (2, f"name it as the document does: {ids['pods']}")
    pair.join("t", EAST, FAR)
    pair.apply()
    assert disconnect(pair, f"t --site far --subnet {ids['pods']}")[::2] == (2, "name it as the document does: pods")


def test_again_of_a_subnet_is_no_error_even_when_its_owner_removed_it(pair: Deployment) -> None:
    pair.join("t", EAST, FAR)
    pair.apply()
    for words in ("t --site far --subnet jobs", "t --site east --subnet db"):
        assert disconnect(pair, words)[0] == 0
    written = text(pair)
    for words in ("t --site far --subnet jobs", "t --site east --subnet db", "t --subnet db"):
        assert disconnect(pair, words)[0] == 0
        assert text(pair) == written, "no other attachment excepts what was not its subnet"
    pair.sites["west"].nbctl("lrp-del a-jobs -- ls-del jobs")
    assert disconnect(pair, "t --site far --subnet jobs")[0] == 0
    assert text(pair) == written


def test_a_subnet_whose_switch_is_gone_but_whose_rows_stand_is_cut(pair: Deployment) -> None:
    pair.join("t", EAST, FAR)
    pair.apply()
    pair.sites["west"].nbctl("lrp-del a-jobs -- ls-del jobs")
    assert disconnect(pair, "t --site far --subnet jobs")[0] == 0
    assert excepted(pair) == ["jobs"]
    assert not [k for k in owned(pair.snapshot())["nb/east"] if "10.2.2.0/24" in k]


def test_under_every_subnet_of_a_site_out_of_reach_any_name_is_excepted(pair: Deployment) -> None:
    pair.join("t", EAST, FAR)
    pair.apply()
    pair.sites["west"].nb.stop()
    assert disconnect(pair, "t --site far --subnet jobs")[0] == 1
    assert disconnect(pair, "t --site far --subnet nobody-knows")[0] == 1
    assert excepted(pair) == ["jobs", "nobody-knows"]
    pair.sites["west"].nb.start()
    # The name that was not one is refused now that it can be told, and connects nothing.
    assert {e["field"] for e in pair.refused()} == {"spec.attachments[1].except[1]"}


def test_an_attachment_out_of_reach_is_finished_by_the_same_command(deploy: Deploy) -> None:
    world = deploy("east", "north", "west")
    for number, (name, site) in enumerate(world.sites.items()):
        site.router("a", **{name: f"10.{number}.0.1/24"})
    world.join("t", attach("east", "a", "east"), attach("north", "a", "north"), attach("west", "a", "west", name="far"))
    world.apply()
    world.sites["west"].nb.stop()
    for _ in range(2):
        assert disconnect(world, "t --site far")[0] == 1
    world.sites["west"].nb.start()
    assert disconnect(world, "t --site far")[0] == 0
    assert not owned(world.snapshot())["nb/west"]
    assert disconnect(world, "t --site west")[0] == 0, "a site of which nothing is left"
    assert disconnect(world, "t --site far")[:2] == (2, "UnknownAttachment")


def test_a_whole_interconnect_again(pair: Deployment) -> None:
    """Rows or a site out of reach are a reason to go on; where nothing is left nobody can tell it from a slip."""
    pair.join("t", EAST, FAR)
    pair.apply()
    pair.sites["west"].nb.stop()
    for _ in range(2):
        assert disconnect(pair, "t")[0] == 1
    pair.sites["west"].nb.start()
    assert disconnect(pair, "t")[0] == 0
    assert not any(owned(pair.snapshot()).values())
    assert disconnect(pair, "t") == (2, "UnknownInterconnect", "if it was disconnected, all of it is gone")
    pair.interconnects.clear()
    pair.join("tt", EAST, FAR)
    assert disconnect(pair, "t")[2] == "if it was disconnected, all of it is gone; else did you mean tt?"
    pair.sites["west"].nb.stop()
    assert disconnect(pair, "t")[:2] == (1, "UnknownInterconnect")
