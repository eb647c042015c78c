"""Where verbs write: one JSON object on stdout, or text; problems and notes for people on stderr.

What cannot be written never stops the work: a reader that goes away (`isthmus plan | head`) is no fault, any other
failure is raised by `close`, when the work is done.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from isthmus.errors import Problem


class Output:
    """`json` tells a verb which of `result` and `line` will be seen.

    result    what the verb found, the fields of the contract; printed by `close`, in JSON mode only
    line      text for people, at once, in text mode only
    note      progress and warnings, on stderr, in both
    problems  what went wrong beside the result: the `errors` field, or lines on stderr
    """

    def __init__(self, *, json: bool, stdout: TextIO | None = None, stderr: TextIO | None = None) -> None:
        self.json = json
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self._object: dict[str, Any] = {}
        self._closed = False
        self._failure: OSError | None = None

    def result(self, value: Mapping[str, Any]) -> None:
        """Fields of the one JSON object; later calls add to it."""
        self._object.update(value)

    def line(self, text: str = "") -> None:
        if not self.json:
            self._write(self._stdout, text + "\n")

    def note(self, text: str) -> None:
        self._write(self._stderr, text + "\n")

    def problems(self, problems: Iterable[Problem]) -> None:
        found = list(problems)
        if self.json and found:
            self._object.setdefault("errors", []).extend(map(fields, found))
            return
        for problem in found:
            self.note(f"isthmus: {problem}")

    def only_problems(self, problems: Iterable[Problem]) -> None:
        """The verb failed: errors, and no result."""
        self._object.clear()
        self.problems(problems)

    def close(self) -> None:
        """Print the object and flush. Call last. Raises OSError where something could not be written."""
        if self._closed:
            return
        self._closed = True
        if self.json:
            self._write(self._stdout, json.dumps(self._object, ensure_ascii=False) + "\n")
        for stream in (self._stdout, self._stderr):
            self._try(stream, stream.flush)
        if self._failure is not None:
            raise self._failure

    def _write(self, stream: TextIO, text: str) -> None:
        self._try(stream, lambda: stream.write(text))

    def _try(self, stream: TextIO, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self._failure = error
            # what is still buffered, and all that follows, goes nowhere
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def fields(problem: Problem) -> dict[str, Any]:
    """A problem as the contract's JSON."""
    return {
        "code": problem.code,
        "message": problem.message,
        "file": problem.file,
        "document": problem.document,
        "field": problem.field,
        "remedy": problem.remedy,
    }
