"""`disconnect`: take something out of the documents, every other byte kept.

Two steps, because the caller takes its locks in between: `disconnect` computes an `Edit`, `Edit.write` writes it.
The new text is read back before it is offered: it must say what was wanted, and of everything else what it said before.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from isthmus.api import parse
from isthmus.api.attachments import EVERY
from isthmus.api.structure import nearest
from isthmus.backends.files.load import decode, load_drafts
from isthmus.backends.files.marks import Editor, Node, Written, document
from isthmus.backends.files.yamltext import Malformed
from isthmus.errors import Conflict, IntentError, Problem, WorldError
from isthmus.model.intent import Attachment, Configuration, Interconnect

NOTHING = "# no document is left\n"
BOM = b"\xef\xbb\xbf"
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


@dataclass(frozen=True, slots=True)
class Edit:
    """What `disconnect` would do to the documents.

    configuration  as it was read, before the edit
    before, after  the Interconnect; `after` is None where it is gone altogether
    changes        sentences for the user, empty where nothing is left to do in the file
    absent         what was named is not (or no longer) in the documents
    remedy         with `absent`: a name that may have been meant
    attachment     the one that goes, or that loses a subnet
    """

    configuration: Configuration
    before: Interconnect | None = None
    after: Interconnect | None = None
    changes: tuple[str, ...] = ()
    absent: bool = False
    remedy: str = ""
    attachment: Attachment | None = None
    file: Path | None = None
    old: bytes = b""
    new: bytes | None = None

    @property
    def edited(self) -> Configuration:
        """The configuration as the new text says it."""
        others = tuple(i for i in self.configuration.interconnects if i is not self.before)
        kept = (*others, self.after) if self.after is not None else others
        return replace(self.configuration, interconnects=tuple(sorted(kept, key=lambda i: i.name)))

    def undone(self) -> Edit:
        """The same of documents that are left as they are."""
        return Edit(self.configuration, self.before, self.before, absent=True, remedy=self.remedy)

    def write(self) -> None:
        """Write it: all or nothing, the mode kept. Nothing to do where `absent`.

        Raises Conflict where the file is no longer what was read, WorldError where it cannot be written.
        """
        if self.file is None or self.new is None:
            return
        try:
            _replace(self.file.resolve(), self.old, self.new)
        except OSError as error:
            said = f"cannot be written: {error.strerror}"
            raise WorldError(Problem("FileWrite", said, str(self.file), remedy="check its directory's mode")) from None


def disconnect(path: Path | str, name: str, site: str | None = None, subnet: str | None = None) -> Edit:
    """Take an Interconnect, one of its attachments (`site`: the attachment's name), or one subnet out.

    Raises IntentError where the documents are invalid, the subnet is `"*"` or in several attachments, or the text
    cannot be edited without changing something else. Writes nothing.
    """
    if subnet == EVERY:
        remedy = "name one; take all out with --site S alone, or the whole Interconnect with neither"
        raise IntentError(Problem("InvalidSubnet", '"*" is not the name of a subnet', remedy=remedy))
    configuration, drafts = load_drafts(path)
    before = next((i for i in configuration.interconnects if i.name == name), None)
    if before is None:
        remedy = _meant(name, [i.name for i in configuration.interconnects])
        return Edit(configuration, absent=True, remedy=remedy)
    attachment = _attachment(before, site, subnet)
    if isinstance(attachment, str):
        return Edit(configuration, before, before, absent=True, remedy=attachment)
    after, changes = _without(before, attachment, subnet)
    edit = Edit(configuration, before, after, changes, attachment=attachment, file=Path(before.origin.file))
    values = [d.value for d in drafts if d.origin.file == before.origin.file]
    return _with_text(edit, values, attachment, subnet)


def _meant(word: str, known: Sequence[str]) -> str:
    near = nearest(word, list(known))
    return f"did you mean {near}?" if near else ""


# what is wanted


def _attachment(interconnect: Interconnect, site: str | None, subnet: str | None) -> Attachment | str | None:
    """The attachment that is meant; None: all; a string (a remedy or ""): it is not there."""
    attachments = interconnect.attachments
    if site is not None:
        attachments = tuple(a for a in attachments if a.name == site)
        if not attachments:
            return _meant(site, [a.name for a in interconnect.attachments])
    if subnet is None:
        return attachments[0] if site is not None else None
    found = [a for a in attachments if _holds(a, subnet)]
    if len(found) > 1:
        names = ", ".join(a.name for a in found)
        problem = Problem(
            "Ambiguous",
            f"subnet {subnet!r} may be in several attachments of {interconnect.name!r}: {names}",
            interconnect.origin.file,
            interconnect.origin.document,
            remedy="say which with --site",
        )
        raise IntentError(problem)
    return found[0] if found else _meant(subnet, [str(s) for a in attachments for s in a.subnets])


def _holds(attachment: Attachment, subnet: str) -> bool:
    if attachment.every:
        return subnet not in attachment.exclude
    return any(subnet in (s.name, s.id) for s in attachment.subnets)


def _without(
    interconnect: Interconnect, attachment: Attachment | None, subnet: str | None
) -> tuple[Interconnect | None, tuple[str, ...]]:
    """The Interconnect without it, and what to tell the user."""
    gone = f"removed Interconnect {interconnect.name}"
    if attachment is None:
        return None, (gone,)
    kept: Attachment | None = None
    said = f"removed attachment {attachment.name} of {interconnect.name}"
    if subnet is not None and attachment.every:
        kept = replace(attachment, exclude=(*attachment.exclude, subnet))
        said = f"added {subnet} to except of attachment {attachment.name} of {interconnect.name}"
    elif subnet is not None and len(attachment.subnets) > 1:
        kept = replace(attachment, subnets=tuple(s for s in attachment.subnets if subnet not in (s.name, s.id)))
        said = f"removed subnet {subnet} from attachment {attachment.name} of {interconnect.name}"
    left = tuple(a if a is not attachment else kept for a in interconnect.attachments)
    attachments = tuple(a for a in left if a is not None)
    if len(attachments) < 2:
        return None, (said, f"{gone}: fewer than two attachments are left")
    return replace(interconnect, attachments=attachments), (said,)


# the text


def _with_text(edit: Edit, values: list[object], attachment: Attachment | None, subnet: str | None) -> Edit:
    assert edit.file is not None and edit.before is not None
    old = edit.file.read_bytes()
    mark = BOM if old.startswith(BOM) else b""
    text = old.removeprefix(BOM).decode()
    editor = Editor(text, json=edit.file.suffix == ".json")
    try:
        written = document(text, editor.json, edit.before.origin.document or 0)
        done = _cut(editor, written, edit, attachment, subnet)
    except (yaml.YAMLError, IndexError):
        done = False
    if not done:
        raise _by_hand(edit)
    # A file without a byte could as well be one that is just being written: it would count as not listed.
    left = editor.result() or ("" if editor.json else NOTHING)
    edit = replace(edit, old=old, new=mark + left.encode())
    _check(edit, values)
    return edit


def _cut(editor: Editor, written: Written, edit: Edit, attachment: Attachment | None, subnet: str | None) -> bool:
    """Enter the cuts; False where the text is written in a way that leaves nothing to cut."""
    if edit.after is None or edit.before is None:
        editor.cut_lines(written.start, written.end - 1)
        return True
    spec = written.root.get("spec")
    listed = spec.get("attachments") if spec is not None else None
    if attachment is None or listed is None or listed.kind != "list":
        return False
    index = edit.before.attachments.index(attachment)
    if len(edit.after.attachments) < len(edit.before.attachments):
        editor.cut_item(listed, index)
        return True
    node = listed.items[index]
    changed = edit.after.attachments[index]
    return _exclude(editor, node, changed) if attachment.every else _unlist(editor, node, attachment, subnet)


def _exclude(editor: Editor, node: Node, changed: Attachment) -> bool:
    name, present = _word(changed.exclude[-1], editor.json), node.get("except")
    if present is None:
        if node.get("subnets") is None:
            return False
        editor.append_field(node, "subnets", "except", f"[{name}]")
    elif present.kind == "alias":
        words = ", ".join(_word(w, editor.json) for w in changed.exclude)
        editor.replace(present.start, present.end, f"[{words}]")
    else:
        editor.append_item(present, name)
    return True


def _unlist(editor: Editor, node: Node, attachment: Attachment, subnet: str | None) -> bool:
    listed = node.get("subnets")
    if listed is None or listed.kind != "list":
        return False
    index = next(i for i, s in enumerate(attachment.subnets) if subnet in (s.name, s.id))
    editor.cut_item(listed, index)
    return True


def _word(name: str, as_json: bool) -> str:
    """A string as YAML and JSON take it; plain where that is safe."""
    if not as_json and _PLAIN.fullmatch(name) and name.lower() not in _WORDS:
        return name
    return json.dumps(name, ensure_ascii=False)


def _by_hand(edit: Edit) -> IntentError:
    origin = edit.before.origin if edit.before is not None else None
    return IntentError(
        Problem(
            "EditByHand",
            "the text cannot be edited without changing something else (aliases, merges or an unusual form)",
            str(edit.file),
            origin.document if origin else None,
            remedy="edit the file by hand, then run apply",
        )
    )


def _check(edit: Edit, values: list[object]) -> None:
    """Read the new text: the document must say what is wanted, and all others (`values`) what they said."""
    assert edit.file is not None and edit.new is not None and edit.before is not None
    index = edit.before.origin.document or 0
    try:
        found = list(decode(edit.new, edit.file.suffix)) if edit.new.strip() else []
    except Malformed:
        raise _by_hand(edit) from None
    changed = [] if edit.after is None else found[index : index + 1]
    good = found == [*values[:index], *changed, *values[index + 1 :]] and all(
        _says(value, edit.before, edit.after) for value in changed
    )
    if not good:
        raise _by_hand(edit)


def _says(value: object, before: Interconnect, after: Interconnect | None) -> bool:
    """Whether a document is the Interconnect `after`."""
    draft = parse(value, before.origin, Path())
    if after is None or not isinstance(draft.result, Interconnect) or draft.problems:
        return False
    wanted = replace(after, fabric=draft.result.fabric)
    return _placeless(draft.result) == _placeless(wanted) and draft.result.fabric in ("", after.fabric)


def _placeless(interconnect: Interconnect) -> Interconnect:
    """Without the places in the text."""
    attachments = tuple(
        replace(a, field="", subnets=tuple(replace(s, field="") for s in a.subnets)) for a in interconnect.attachments
    )
    return replace(interconnect, attachments=attachments)


# the file


def _replace(file: Path, old: bytes, new: bytes) -> None:
    """Put `new` in the place of `old` by a rename, or remove a file that is empty now and must not be (JSON)."""
    mode = file.stat()
    if not stat.S_ISREG(mode.st_mode) or file.read_bytes() != old:
        raise Conflict(
            Problem("FileChanged", "changed while we looked at it", str(file), remedy="run the command again")
        )
    if file.suffix == ".json" and not new.strip():
        file.unlink()
    else:
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(new)
                os.fchmod(stream.fileno(), stat.S_IMODE(mode.st_mode))
                if (os.geteuid(), os.getegid()) != (mode.st_uid, mode.st_gid):
                    os.fchown(stream.fileno(), mode.st_uid, mode.st_gid)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.rename(file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
