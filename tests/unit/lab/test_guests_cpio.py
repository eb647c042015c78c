"""The RAM disk's archive."""

from __future__ import annotations

from isthmus.lab.guests import cpio


def read(data: bytes) -> dict[str, tuple[int, bytes]]:
    """name -> (mode, contents), as the kernel reads it: by the header's lengths."""
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        begin = at + 110
        name = data[begin : begin + fields[11] - 1].decode()
        at = (begin + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = fields[1], data[at : at + fields[6]]
        at = (at + fields[6] + 3) // 4 * 4


def test_an_archive_holds_what_was_put_in_and_the_directories_above_it():
    data = cpio.archive([cpio.file("bin/tool", b"12345", 0o755), cpio.link("bin/other", "tool")])
    assert read(data) == {
        "bin": (0o040755, b""),
        "bin/tool": (0o100755, b"12345"),
        "bin/other": (0o120777, b"tool"),
    }


def test_a_directory_comes_before_what_is_in_it_and_only_once():
    data = cpio.archive([cpio.file("a/b/c", b""), cpio.directory("a"), cpio.file("a/d", b"")])
    assert list(read(data)) == ["a", "a/b", "a/b/c", "a/d"]


def test_the_same_contents_are_the_same_archive():
    entries = [cpio.file("init", b"#!"), cpio.Entry("dev/console", cpio.CHARACTER | 0o600, device=(5, 1))]
    assert cpio.archive(entries) == cpio.archive(entries)
