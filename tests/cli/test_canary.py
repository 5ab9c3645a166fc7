from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from tests.canary.helpers import make_rows


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["canary", *arguments])
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    path = tmp_path / "keyring.json"
    assert run("keygen", "--out", str(path)) == 0
    return path


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def replies(tmp_path: Path, count: int = 300, seed: int = 1) -> Path:
    rows = [{"id": f"r{i}", "prompt": p, "reply": r, "n": i} for i, (p, r) in enumerate(make_rows(count, seed))]
    return write(tmp_path / f"replies-{seed}.ndjson", rows)


def test_a_key_is_made_rotated_promised_and_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, public = tmp_path / "k.json", tmp_path / "public.json"
    assert run("keygen", "--out", str(path)) == 0
    assert run("keygen", "--out", str(path)) == 2
    assert "got a file that exists" in capsys.readouterr().err
    assert run("keygen", "--out", str(path), "--rotate", "--commit", "c1,c2", "--public", str(public), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert [v["version"] for v in shown["versions"]] == [1, 2]
    assert [c["cluster"] for c in shown["clusters"]] == ["c1", "c2"]
    assert json.loads(public.read_text()) == shown
    assert "secret" not in public.read_text()


def test_marked_rows_keep_everything_else_and_say_what_changed(ring: Path, tmp_path: Path) -> None:
    source, out = replies(tmp_path, 60), tmp_path / "marked.ndjson"
    assert run("mark", "--keyring", str(ring), "--cluster", "c1", "--in", str(source), "--out", str(out)) == 0
    before, after = read(source), read(out)
    assert [(a["id"], a["prompt"], a["n"]) for a in after] == [(b["id"], b["prompt"], b["n"]) for b in before]
    for a, b in zip(after, before, strict=True):
        assert (a["reply"] != b["reply"]) == bool(a["marks"])
    assert any(a["marks"] for a in after)
    again = tmp_path / "again.ndjson.gz"
    assert run("mark", "--keyring", str(ring), "--cluster", "c1", "--in", str(source), "--out", str(again)) == 0
    assert gzip.decompress(again.read_bytes()) == out.read_bytes()


def test_a_leaked_file_is_audited_and_traced(ring: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out, ledger = replies(tmp_path), tmp_path / "marked.ndjson", tmp_path / "ledger.ndjson"
    mark = ("mark", "--keyring", str(ring), "--cluster", "c1", "--in", str(source), "--out", str(out))
    assert run(*mark, "--ledger", str(ledger)) == 0
    leak = write(tmp_path / "leak.ndjson", read(out) + read(replies(tmp_path, 300, 2)))
    report, page = tmp_path / "audit.json", tmp_path / "audit.html"
    audit = ("audit", "--keyring", str(ring), "--clusters", "c1,c2,c3", "--corpus", str(leak), "--out", str(report))
    assert run(*audit, "--html", str(page)) == 0
    found = json.loads(report.read_text())
    assert found["attributed_to"] == ["c1"]
    assert found["alpha"] == 1e-6
    assert found["suspect"] == str(leak)
    assert [result["cluster"] for result in found["results"]] == ["c1", "c2", "c3"]
    assert page.read_text().startswith("<!doctype html>")
    assert "attributed   c1" in capsys.readouterr().out
    trace = ("trace", "--keyring", str(ring), "--ledger", str(ledger), "--corpus", str(leak), "--json")
    assert run(*trace) == 0
    traced = json.loads(capsys.readouterr().out)
    assert traced["clusters"][0]["cluster"] == "c1"
    assert traced["matched"] >= 290


class _Server(ThreadingHTTPServer):
    replies: list[str]
    asked = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked += 1
        text = self.server.replies[self.server.asked % len(self.server.replies)]
        data = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Silence."""


@pytest.fixture
def student(ring: Path, tmp_path: Path) -> Iterator[_Server]:
    source, out = replies(tmp_path, 200, 5), tmp_path / "taught.ndjson"
    assert run("mark", "--keyring", str(ring), "--cluster", "c1", "--in", str(source), "--out", str(out)) == 0
    server = _Server(("127.0.0.1", 0), _Handler)
    server.replies = [row["reply"] for row in read(out)]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_that_was_taught_marked_replies_is_audited_by_its_endpoint(
    ring: Path, student: _Server, tmp_path: Path
) -> None:
    out, talk = tmp_path / "audit.json", tmp_path / "talk.ndjson"
    url = f"http://127.0.0.1:{student.server_port}"
    audit = (
        "audit",
        "--keyring",
        str(ring),
        "--clusters",
        "c1,c2",
        "--endpoint",
        url,
        "--model",
        "m",
        "--out",
        str(out),
    )
    assert run(*audit, "--max-queries", "200", "--transcript", str(talk), "--samples", "1") == 0
    found = json.loads(out.read_text())
    assert (found["queries"], found["attributed_to"], student.asked) == (200, ["c1"], 200)
    assert run(*audit, "--max-queries", "200", "--transcript", str(talk), "--samples", "1") == 0
    assert student.asked == 200
    assert json.loads(out.read_text()) == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--clusters", "c1"), "got neither of --endpoint and --corpus"),
        (("--clusters", ",", "--corpus", "x"), "--clusters: got none"),
        (("--clusters", "c1", "--corpus", "x", "--endpoint", "http://s"), "got both of --endpoint and --corpus"),
        (("--clusters", "c1", "--endpoint", "http://s"), "--model: got none"),
        (("--clusters", "c1", "--endpoint", "ftp:s", "--model", "m"), "--endpoint: got 'ftp:s'"),
        (("--clusters", "c1", "--corpus", "missing.ndjson"), "missing.ndjson:1:1: cannot be read"),
        (("--clusters", "c1", "--corpus", "x", "--alpha", "0"), "--alpha"),
        (("--corpus", "x"), "--clusters"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_in_one_line(
    ring: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    capsys.readouterr()
    assert run("audit", "--keyring", str(ring), *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_row_without_a_reply_is_named_with_its_line(
    ring: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "bad.ndjson", [{"reply": "Fine."}, {"text": "no"}])
    assert run("audit", "--keyring", str(ring), "--clusters", "c1", "--corpus", str(source)) == 2
    expected = f"{source}:2:1: got no 'reply', expected a string; give the text of the reply under that name\n"
    assert capsys.readouterr().err == expected
    source = write(tmp_path / "bad.ndjson", [{"prompt": 3, "reply": "x"}])
    assert run("mark", "--keyring", str(ring), "--cluster", "c", "--in", str(source), "--out", "-") == 2
    assert "bad.ndjson:1:1: got int for 'prompt'" in capsys.readouterr().err


def test_an_unknown_carrier_is_refused(ring: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = replies(tmp_path, 2)
    mark = ("mark", "--keyring", str(ring), "--cluster", "c", "--in", str(source), "--out", "-")
    assert run(*mark, "--carriers", "spelling,sound") == 2
    assert "got ['sound'], expected some of spelling" in capsys.readouterr().err
    assert run(*mark, "--carriers", "spelling") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {mark["carrier"] for row in rows for mark in row["marks"]} <= {"spelling"}


def test_an_endpoint_that_is_not_there_ends_with_one_line(
    ring: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.canary.endpoint._ATTEMPTS", 1)
    capsys.readouterr()
    url = "http://127.0.0.1:1"
    assert run("audit", "--keyring", str(ring), "--clusters", "c1", "--endpoint", url, "--model", "m") == 2
    error = capsys.readouterr().err
    assert "check the URL, the model and the credential" in error
    assert error.count("\n") == 1


def test_held_out_prompts_are_left_as_they_are(ring: Path, tmp_path: Path) -> None:
    rows = [{"id": str(i), "prompt": f"{p} {i}", "reply": r} for i, (p, r) in enumerate(make_rows(200, seed=91))]
    source, ends = write(tmp_path / "in.ndjson", rows), {}
    for share in ("0%", "50%", "100%"):
        out = tmp_path / f"out-{share}.ndjson"
        options = ["--cluster", "c1", "--in", str(source), "--out", str(out), "--holdout", share]
        assert run("mark", "--keyring", str(ring), *options) == 0
        ends[share] = [row["reply"] != was["reply"] for row, was in zip(read(out), rows, strict=True)]
    assert not any(ends["100%"])
    assert 0 < sum(ends["50%"]) < sum(ends["0%"])
    assert all(full for full, half in zip(ends["0%"], ends["50%"], strict=True) if half)


def test_a_share_that_is_none_is_refused(ring: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.ndjson", [{"id": "1", "reply": "Hello."}])
    options = ["--cluster", "c1", "--in", str(source), "--out", "-", "--holdout", "half"]
    assert run("mark", "--keyring", str(ring), *options) == 2
    assert "--holdout: got 'half', expected a share from '0%' to '100%'" in capsys.readouterr().err


def test_decoy_tools_are_printed_for_those_who_hand_out_tool_lists(
    ring: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("decoys", "--keyring", str(ring), "--cluster", "c1", "--count", "3") == 0
    tools = json.loads(capsys.readouterr().out)
    assert len(tools) == 3
    assert all(tool["type"] == "function" for tool in tools)
