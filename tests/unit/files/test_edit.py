from __future__ import annotations

import stat
from pathlib import Path

import pytest

from isthmus.backends.files import load
from isthmus.backends.files.edit import Edit, disconnect
from isthmus.errors import Conflict, IntentError

from .documents import EAST, GOOD, WEST, interconnect, site, stream

THREE = interconnect("t", EAST, WEST, "{site: south, vpc: s, subnets: ['*']}")
BASE = [*GOOD[:3], site("south")]

BLOCK = """\
# who owns this: the network team
apiVersion: isthmus.dev/v1alpha1
kind: Interconnect   # one tenant
metadata:
  name: t
spec:
  attachments:
    # the cloud
    - site: east
      vpc: {name: r}
      subnets:
        - web        # shop
        # the database
        - name: db
          cidr: 10.5.0.0/24

        - last       # and last
    -
      # the cluster
      site: west
      vpc: {name: r}
      subnets: ["*"]   # everything
    - site: south
      subnets: [  # here too
        one,  # first
        two,  # second
        "three"  # third
      ]
      vpc: r
# end of t
"""


def written(tmp_path: Path, *documents: str) -> Path:
    path = tmp_path / "a.yaml"
    path.write_text(stream(*documents))
    return path


def edited(tmp_path: Path, document: str, *words: str | None) -> tuple[list[str], list[str], Edit]:
    """Disconnect by `words`; the lines that went and the lines that came."""
    path = written(tmp_path, *BASE, document)
    old = path.read_text().splitlines()
    edit = disconnect(path, *words)  # type: ignore[arg-type]
    assert path.read_text().splitlines() == old
    edit.write()
    new = path.read_text().splitlines()
    if edit.after is not None:
        assert load(path) is not None
    return _minus(old, new), _minus(new, old), edit


def _minus(some: list[str], others: list[str]) -> list[str]:
    left = list(others)
    gone = []
    for line in some:
        if line in left:
            left.remove(line)
        else:
            gone.append(line)
    return gone


CUTS = [
    (("t", "east", "web"), ["        - web        # shop"], []),
    (("t", "east", "db"), ["        - name: db", "          cidr: 10.5.0.0/24"], []),
    (("t", "east", "last"), ["        - last       # and last"], []),
    (("t", "south", "one"), ["        one,  # first"], []),
    (("t", "south", "two"), ["        two,  # second"], []),
    (("t", "south", "three"), ["        two,  # second", '        "three"  # third'], ["        two  # second"]),
    (("t", "west", "x"), [], ["      except: [x]"]),
    (("t", "west", "größe 1"), [], ['      except: ["größe 1"]']),
    (("t", "west", "no"), [], ['      except: ["no"]']),
]


@pytest.mark.parametrize(("words", "gone", "came"), CUTS)
def test_only_the_subnets_own_lines_change(
    tmp_path: Path, words: tuple[str, ...], gone: list[str], came: list[str]
) -> None:
    went, new, edit = edited(tmp_path, BLOCK, *words)
    assert (went, new) == (gone, came)
    assert edit.changes and not edit.absent


def test_an_attachment_is_taken_out_with_its_lines_alone(tmp_path: Path) -> None:
    went, new, edit = edited(tmp_path, BLOCK, "t", "west")
    assert went[:3] == ["    -", "      # the cluster", "      site: west"]
    assert len(went) == 5
    assert new == []
    assert edit.after is not None and edit.after.sites == ("east", "south")


def test_an_interconnect_is_taken_out_and_comments_around_it_stay(tmp_path: Path) -> None:
    path = written(tmp_path, "# our fabric\n" + BASE[0], *BASE[1:], BLOCK, interconnect("u", EAST, WEST))
    edit = disconnect(path, "t")
    edit.write()
    text = path.read_text()
    assert edit.after is None
    assert "# our fabric" in text and "# end of t" in text and "# the cloud" not in text
    assert [i.name for i in load(path).interconnects] == ["u"] == [i.name for i in edit.edited.interconnects]


def test_the_last_subnet_takes_the_attachment_along(tmp_path: Path) -> None:
    went, _, edit = edited(tmp_path, THREE, "t", "west", "app")
    assert went == [f"  - {WEST}"]
    assert edit.changes == ("removed attachment west of t",)


def test_fewer_than_two_attachments_take_the_interconnect_along(tmp_path: Path) -> None:
    _, new, edit = edited(tmp_path, GOOD[3], "tenant-a", None, "app")
    assert new == [] and edit.after is None
    assert edit.changes[1] == "removed Interconnect tenant-a: fewer than two attachments are left"


def test_flow_style_stays_flow_style(tmp_path: Path) -> None:
    assert edited(tmp_path, THREE, "t", "east", "web")[1] == ["  - {site: east, vpc: {name: r}, subnets: [db]}"]
    assert edited(tmp_path, THREE, "t", "east", "db")[1] == ["  - {site: east, vpc: {name: r}, subnets: [web]}"]
    came = edited(tmp_path, THREE, "t", "south", "x")[1]
    assert came == ["  - {site: south, vpc: s, subnets: ['*'], except: [x]}"]


def test_a_second_exception_joins_the_first(tmp_path: Path) -> None:
    path = written(tmp_path, *BASE, THREE)
    for name in ("x", "z"):
        disconnect(path, "t", "south", name).write()
    assert "except: [x, z]}" in path.read_text()
    block = BLOCK.replace("# everything\n", "# everything\n      except:\n        - x  # why\n")
    assert edited(tmp_path, block, "t", "west", "z")[1] == ["        - z"]
    empty = BLOCK.replace("# everything\n", "# everything\n      except: []\n")
    assert edited(tmp_path, empty, "t", "west", "z")[1] == ["      except: [z]"]


def test_a_subnet_in_several_attachments_needs_the_site(tmp_path: Path) -> None:
    path = written(tmp_path, *BASE, THREE)
    old = path.read_bytes()
    with pytest.raises(IntentError) as caught:
        disconnect(path, "t", None, "web")
    assert [p.code for p in caught.value.problems] == ["Ambiguous"]
    assert path.read_bytes() == old


def test_what_is_not_there_is_absent(tmp_path: Path) -> None:
    path = written(tmp_path, *BASE, THREE)
    for words, remedy in (
        (("gone",), ""),
        (("t", "wst"), "did you mean west?"),
        (("t", "east", "wbe"), "did you mean web?"),
        (("T",), "did you mean t?"),
    ):
        edit = disconnect(path, *words)
        assert (edit.absent, edit.changes, edit.remedy) == (True, (), remedy)
        edit.write()
    assert path.read_text() == stream(*BASE, THREE)


def test_an_attachment_is_found_by_its_own_name(tmp_path: Path) -> None:
    named = interconnect("t", EAST, WEST, "{site: west, name: other, vpc: q, subnets: [app]}")
    assert edited(tmp_path, named, "t", "other")[2].changes == ("removed attachment other of t",)


def test_aliases_are_cut_where_that_changes_nothing_else_and_refused_otherwise(tmp_path: Path) -> None:
    shared = interconnect(
        "t",
        "{site: east, vpc: r, subnets: &s [a, b]}",
        "{site: west, vpc: r, subnets: *s}",
        "{site: south, vpc: r, subnets: *s}",
    )
    assert edited(tmp_path, shared, "t", "west")[0] == ["  - {site: west, vpc: r, subnets: *s}"]
    path = written(tmp_path, *BASE, shared)
    for words in (("t", "east", "a"), ("t", "west", "a"), ("t", "east")):
        with pytest.raises(IntentError) as caught:
            disconnect(path, *words)
        assert [p.code for p in caught.value.problems] == ["EditByHand"]
    assert path.read_text() == stream(*BASE, shared)


def test_line_endings_byte_order_mark_and_mode_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + stream(*BASE, BLOCK).replace("\n", "\r\n").encode())
    path.chmod(0o640)
    disconnect(path, "t", "west", "x").write()
    data = path.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf") and data.count(b"\n") == data.count(b"\r\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.yaml"]


def test_json_is_edited_as_json(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(stream(*BASE))
    text = (
        '{"apiVersion": "isthmus.dev/v1alpha1", "kind": "Interconnect", "metadata": {"name": "t"}, "spec": '
        '{"attachments": [\n\t{"site": "east", "vpc": "r", "subnets": [\n"a",\n"b"\n]},\n'
        '\t{"site": "west", "vpc": "r", "subnets": ["*"]}]}}\n'
    )
    (tmp_path / "t.json").write_text(text)
    disconnect(tmp_path, "t", "east", "b").write()
    disconnect(tmp_path, "t", "west", "x").write()
    result = (tmp_path / "t.json").read_text()
    assert '[\n"a"\n]' in result and '["*"], "except": ["x"]}' in result
    disconnect(tmp_path, "t").write()
    assert not (tmp_path / "t.json").exists()
    assert load(tmp_path).interconnects == ()


def test_invalid_documents_stop_the_edit(tmp_path: Path) -> None:
    path = written(tmp_path, *BASE, THREE, "kind: nonsense\n")
    with pytest.raises(IntentError):
        disconnect(path, "t")


def test_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = written(tmp_path, *BASE, THREE)
    edit = disconnect(path, "t")
    path.write_text(path.read_text() + "# mine\n")
    with pytest.raises(Conflict):
        edit.write()
    assert path.read_text().endswith("# mine\n")


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = written(tmp_path / "real", *BASE, THREE)
    link = tmp_path / "link.yaml"
    link.symlink_to(target)
    disconnect(link, "t").write()
    assert link.is_symlink() and load(target).interconnects == ()
