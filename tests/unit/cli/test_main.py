from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from isthmus.cli import main as cli
from isthmus.cli.output import Output
from isthmus.errors import NotReady, Problem, Unreachable

GOOD = """\
apiVersion: isthmus.dev/v1alpha1
kind: Fabric
metadata: {name: default}
spec: {northbound: ["unix:n"], southbound: ["unix:s"]}
"""


class Verb:
    """A verb whose `run` is given."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def configure(self, parser: Any) -> None:
        parser.add_argument("--size", type=int)

    def run(self, args: Any, out: Output) -> int:
        result: int = self._run(args, out)
        return result


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(list(words))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def failing(error: BaseException) -> Any:
    def run(args: Any, out: Output) -> int:
        out.result({"half": "done"})
        raise error

    return run


def test_valid_documents_are_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD)
    assert call(capsys, "check", "-f", str(path)) == (0, "Fabric default: valid\n", "")
    code, out, _ = call(capsys, "check", "--output", "json", "-f", str(path))
    assert (code, json.loads(out)) == (0, {"objects": [{"kind": "Fabric", "name": "default"}]})


def test_the_environment_names_the_documents_and_the_option_wins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD)
    monkeypatch.setenv("ISTHMUS_CONFIG", str(path))
    assert call(capsys, "check")[0] == 0
    assert call(capsys, "check", "-f", str(tmp_path / "none"))[0] == 2
    monkeypatch.delenv("ISTHMUS_CONFIG")
    code, out, err = call(capsys, "check")
    assert (code, out) == (2, "") and "ISTHMUS_CONFIG" in err


def test_errors_are_one_json_object_with_the_fields_of_the_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD + "---\nkind: Sites\n")
    code, out, err = call(capsys, "--output=json", "check", "-f", str(path))
    assert (code, err) == (2, "")
    errors = json.loads(out)["errors"]
    assert list(json.loads(out)) == ["errors"] and len(errors) == 2
    assert errors[1] == {
        "code": "UnknownKind",
        "message": "unknown kind 'Sites'",
        "file": str(path),
        "document": 1,
        "field": "kind",
        "remedy": "did you mean Site?",
    }


def test_errors_are_lines_on_standard_error_in_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "check", "-f", str(tmp_path / "none"))
    assert (code, out) == (2, "")
    assert err.startswith("isthmus: ") and str(tmp_path / "none") in err
    (tmp_path / "a.yaml").write_text(GOOD + "---\nkind: Sites\n")
    assert (
        f"{tmp_path / 'a.yaml'} document 2 kind: unknown kind 'Sites'" in call(capsys, "check", "-f", str(tmp_path))[2]
    )


@pytest.mark.parametrize(
    "words", [["nosuch"], ["chek"], ["check", "--nope"], ["check", "more"], [], ["-f"], ["check", "-f"], ["--what"]]
)
def test_usage_errors_follow_the_same_contract(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, *words)
    assert (code, out) == (2, "") and err.startswith("isthmus: ")
    code, out, err = call(capsys, "--output", "json", *words)
    assert (code, err) == (2, "")
    assert [e["code"] for e in json.loads(out)["errors"]] == ["Usage"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        *(
            (f"{v} --timeout {t}", "--timeout")
            for v in ("plan", "apply", "status")
            for t in ("-1", "soon", "nan", "inf")
        ),
        *((f"trace a/b c/d --port {p}", "'{p}' is no port") for p in ("0", "99999", "http")),
        ("plan --timeout soon", "'soon' is no number of seconds"),
        ("serve --listen 9470", "not IP:PORT: '9470'"),
        ("agent --listen 9470", "not IP:PORT: '9470'"),
    ],
)
def test_values_that_are_none_are_said_in_words_of_their_option(
    words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = call(capsys, *words.split())
    assert (code, out) == (2, "")
    assert says.format(p=words.rpartition(" ")[2]) in err


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (Unreachable(Problem("Unreachable", "no answer")), 1, "Unreachable"),
        (NotReady(Problem("NoProbe", "not ready")), 4, "NoProbe"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (ValueError("oh"), 1, "Bug"),
    ],
)
def test_every_way_out_has_its_code_and_one_object(
    error: BaseException,
    code: int,
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli, "_module", lambda _: Verb(failing(error)))
    got, out, _ = call(capsys, "plan", "--output", "json")
    assert (got, [e["code"] for e in json.loads(out)["errors"]]) == (code, [name])
    assert list(json.loads(out)) == ["errors"]
    got, out, err = call(capsys, "plan")
    assert (got, out) == (code, "") and err


def test_a_result_may_carry_errors_beside_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(args: Any, out: Output) -> int:
        out.result({"databases": []})
        out.line("seen as text only")
        out.problems([Problem("Unreachable", "site b")])
        return 1

    monkeypatch.setattr(cli, "_module", lambda _: Verb(run))
    code, out, _ = call(capsys, "apply", "--output", "json", "--size", "3")
    assert (code, sorted(json.loads(out))) == (1, ["databases", "errors"])
    code, out, err = call(capsys, "apply")
    assert (out, err) == ("seen as text only\n", "isthmus: site b\n")


def test_help_lists_the_verbs_that_exist_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    listed = {line.split()[0] for line in text.splitlines() if line.startswith("  ") and line.split()[0] in cli.VERBS}
    there = {p.stem for p in Path(cli.__file__).parent.glob("*.py")}
    assert listed == there & set(cli.VERBS)


def test_the_schema_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, printed, _ = call(capsys, "schema")
    assert "$defs" in json.loads(printed)
    assert json.loads(call(capsys, "schema", "--output", "json")[1]) == json.loads(printed)
    assert call(capsys, "schema", "--to", str(tmp_path / "s.json"))[0] == 0
    assert (tmp_path / "s.json").read_text() == printed
    assert call(capsys, "schema", "--to", str(tmp_path))[0] == 1


# the process


def start(*words: str, **more: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "import sys; from isthmus.cli.main import main; sys.exit(main())", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def test_a_reader_that_goes_away_is_no_fault() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "isthmus.cli.main", "schema"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_is_a_fault_and_no_traceback() -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "isthmus.cli.main", "schema"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert b"standard output" in done.stderr and b"Traceback" not in done.stderr


def test_interrupting_leaves_cleanly(tmp_path: Path) -> None:
    fifo = tmp_path / "a.yaml"
    os.mkfifo(fifo)
    process = start("check", "-f", str(fifo))
    # opening for writing returns when the command is reading: then it is where we want to interrupt it
    with fifo.open("wb"):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, b"")
    assert err.startswith(b"isthmus: interrupted")


def test_serve_says_at_once_what_it_watches_and_where_its_metrics_are(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    process = start("serve", "-f", str(tmp_path), "--listen", f"127.0.0.1:{port}")
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    process.terminate()
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert f"watches {tmp_path} " in line and line.endswith(f"metrics at http://127.0.0.1:{port}/metrics\n")


def test_the_version_needs_no_heavy_import() -> None:
    code = "import sys; from isthmus.cli.main import main; main(['--version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"yaml", "pydantic", "asyncio", "ssl", "ipaddress", "isthmus.model.intent"}


def test_reading_documents_does_not_import_pydantic(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    code = f"import sys; from isthmus.backends.files import load; load({str(tmp_path)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"pydantic", "pydantic_core", "asyncio", "difflib"}
