"""The account directory as a file: what is read, what is refused and where, what a reload does."""

from __future__ import annotations

import gzip
import hashlib
import os
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import zstandard

from gateway.errors import ConfigError, FileErrors
from gateway.identity import Account, load_accounts, load_directory
from gateway.identity.accounts_file import MAX_ERRORS
from gateway.identity.refresh import DirectoryRefresher

if TYPE_CHECKING:
    from pathlib import Path

FULL: dict[str, Any] = {
    "account": "a1",
    "created_at": 1771545600.5,
    "plan": "pro",
    "org": "o7",
    "email_domain": "example.org",
    "payment": "pm_1",
    "phone_country": "DE",
    "signup_ip": "203.0.113.9",
    "country": "DE",
    "verified": True,
    "declared_use": "evaluation",
}
CSV = "account,created_at,plan,org,email_domain,payment,phone_country,signup_ip,country,verified,declared_use\n"
CSV_FULL = CSV + 'a1,1771545600.5,pro,"o7",example.org,pm_1,de,203.0.113.9,DE,true,evaluation\n'


def ndjson(*rows: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def errors_of(path: Path) -> list[str]:
    with pytest.raises(FileErrors) as caught:
        load_directory(path)
    return [str(error).removeprefix(f"{path}:") for error in caught.value.errors]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.ndjson", ndjson(FULL)),
        ("a.jsonl", b"\xef\xbb\xbf" + ndjson({**FULL, "unknown": [1]}) + b"\n\n"),
        ("a.ndjson.gz", gzip.compress(ndjson(FULL))),
        ("a.ndjson.zst", zstandard.compress(ndjson(FULL))),
        ("a.csv", CSV_FULL.encode()),
        ("a.csv", b"\xef\xbb\xbf" + CSV_FULL.replace("\n", "\r\n").encode()),
        ("a.csv.gz", gzip.compress(CSV_FULL.encode())),
        ("a.csv.zst", zstandard.compress(CSV_FULL.encode())),
    ],
)
def test_every_form_gives_the_same_account(tmp_path: Path, name: str, data: bytes) -> None:
    assert load_accounts(write(tmp_path / name, data)) == {"a1": Account(**FULL)}


def test_absent_null_and_empty_take_the_default(tmp_path: Path) -> None:
    rows = load_accounts(
        write(tmp_path / "a.ndjson", ndjson({"account": "a1"}, {**dict.fromkeys(FULL), "account": "a2"}))
    )
    assert rows == {"a1": Account(account="a1"), "a2": Account(account="a2")}
    cells = load_accounts(write(tmp_path / "a.csv", CSV + "a3,,,,,,,,,,\na4\n"))
    assert cells == {"a3": Account(account="a3"), "a4": Account(account="a4")}


@pytest.mark.parametrize("name", ["a.ndjson", "a.csv"])
def test_an_empty_file_is_a_directory_without_accounts(tmp_path: Path, name: str) -> None:
    assert load_accounts(write(tmp_path / name, b"")) == {}


TEXT = "expected 1 to 256 printable characters"


@pytest.mark.parametrize(
    ("row", "error"),
    [
        (b'{"plan":"pro"}', "1:1: account: got no account, expected its id"),
        (b'{"account":null}', "1:2: account: got no account, expected its id"),
        (b'{"account":""}', f"1:2: account: got '', {TEXT}"),
        (b'{"account":7}', f"1:2: account: got 7, {TEXT}"),
        (b'{"account":"a\\nb"}', f"1:2: account: got 'a\\nb', {TEXT}"),
        (b'{"account":"a", "plan":[]}', f"1:17: plan: got [], {TEXT}"),
        (b'{"account":"a", "country":"Germany"}', "1:17: country: got 'Germany', expected a country code of two letters such as DE"),
        (b'{"account":"a", "country":"d"}', "1:17: country: got 'd', expected a country code of two letters such as DE"),
        (b'{"account":"a", "created_at":"now"}', "1:17: created_at: got 'now', expected seconds since the epoch"),
        (b'{"account":"a", "created_at":true}', "1:17: created_at: got True, expected seconds since the epoch"),
        (b'{"account":"a", "verified":"false"}', "1:17: verified: got 'false', expected true or false"),
        (b'{"account":"a", "api_key_sha256":"ab"}', "1:17: api_key_sha256: got 'ab', expected the 64 hexadecimal digits of a SHA-256"),
        (b'{"account":"a", "api_key_sha256":[1]}', "1:17: api_key_sha256: got 1, expected the 64 hexadecimal digits of a SHA-256"),
        (b'{"account":"a", "api_key":"s\xc3\xa4"}', "1:17: api_key: got an unusable credential, expected visible ASCII characters"),
        (b'{"account":"a", "api_key":["ok", ""]}', "1:17: api_key: got an unusable credential, expected visible ASCII characters"),
        (b"[1]", "1:1: got list, expected one JSON object a line"),
        (b'{"account":"a"', "1:15: got no JSON (unexpected end of data), expected one object a line"),
        (b'{"account":"\xff"}', "1:1: got no JSON (str is not valid UTF-8: surrogates not allowed), expected one object a line"),
    ],
)  # fmt: skip
def test_a_bad_row_is_told_with_its_place(tmp_path: Path, row: bytes, error: str) -> None:
    assert errors_of(write(tmp_path / "a.ndjson", row + b"\n")) == [error]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("name,plan\na,b\n", "1:1: got 'name,plan', expected a header line that names the columns, account among them"),
        ("account,plan\na1,pro,x\n", "2:1: got 3 cells, expected 2 as in the header"),
        ("plan,account\npro,\n", "2:5: account: got no account, expected its id"),
        ("account,verified\na1,maybe\n", "2:4: verified: got 'maybe', expected true or false"),
        ("account,created_at\na1,yesterday\n", "2:4: created_at: got 'yesterday', expected seconds since the epoch"),
        ("account,created_at\na1,nan\n", "2:4: created_at: got nan, expected seconds since the epoch"),
        ('account\n"a1\n', "2:1: got a broken row (unexpected end of data), expected comma-separated values"),
        ("account\n\na1\n\na1\n", "5:1: account: got 'a1' again, expected each account once (first: line 3)"),
    ],
)
def test_a_bad_row_of_csv_is_told_with_its_place(tmp_path: Path, text: str, error: str) -> None:
    assert errors_of(write(tmp_path / "a.csv", text)) == [error]


def test_all_bad_rows_are_told_at_once(tmp_path: Path) -> None:
    rows = [b'{"account":"a%d"%s}\n' % (n, b',"plan":1' if n % 2 else b"") for n in range(10)]
    rows[4] = b"nonsense\n"
    assert [error.partition(":")[0] for error in errors_of(write(tmp_path / "a.ndjson", b"".join(rows)))] == [
        "2", "4", "5", "6", "8", "10",
    ]  # fmt: skip


def test_a_wholly_wrong_file_is_told_in_bounded_space(tmp_path: Path) -> None:
    errors = errors_of(write(tmp_path / "a.ndjson", b"x\n" * (MAX_ERRORS + 5)))
    assert len(errors) == MAX_ERRORS + 1
    assert errors[-1] == f"{MAX_ERRORS + 5}:1: {MAX_ERRORS + 5} rows are wrong in all"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.ndjson.gz", gzip.compress(ndjson(FULL) * 1)[:-9]),
        ("a.ndjson.gz", b"plain"),
        ("a.ndjson.zst", zstandard.compress(ndjson(FULL))[:-3]),
        ("a.ndjson.zst", b"plain"),
        ("a.csv.gz", gzip.compress(CSV_FULL.encode())[:-9]),
    ],
)
def test_a_cut_or_mislabelled_package_is_no_shorter_directory(tmp_path: Path, name: str, data: bytes) -> None:
    assert "cannot be read or unpacked" in errors_of(write(tmp_path / name, data))[0]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert errors_of(tmp_path / "none.ndjson") == ["1:1: cannot be read: No such file or directory"]


def test_operators_own_keys_lead_to_their_account(tmp_path: Path) -> None:
    hashed = hashlib.sha256(b"sk-1").hexdigest()
    rows = ndjson(
        {"account": "a1", "api_key_sha256": hashed.upper()},
        {"account": "a2", "api_key": ["sk-2", "sk-3", "sk-2"], "api_key_sha256": hashlib.sha256(b"sk-2").hexdigest()},
    )
    directory = load_directory(write(tmp_path / "a.ndjson", rows))
    found = dict(directory._by_credential)
    assert found == {
        hashlib.sha256(key).digest(): name for key, name in ((b"sk-1", "a1"), (b"sk-2", "a2"), (b"sk-3", "a2"))
    }
    assert b"sk-2" not in repr(directory).encode()
    csv = f"account,api_key_sha256\na1,{hashed} {hashlib.sha256(b'sk-9').hexdigest()}\n"
    assert len(load_directory(write(tmp_path / "a.csv", csv))._by_credential) == 2


def test_one_key_never_stands_for_two_accounts(tmp_path: Path) -> None:
    rows = ndjson(
        {"account": "a1", "api_key": "sk-1"},
        {"account": "a2", "api_key_sha256": hashlib.sha256(b"sk-1").hexdigest()},
    )
    assert errors_of(write(tmp_path / "a.ndjson", rows)) == [
        "2:17: api_key_sha256: got a credential of 'a1' (line 1), expected one of its own"
    ]


def test_a_hundred_thousand_accounts_are_read_whole(tmp_path: Path) -> None:
    rows = (orjson.dumps({**FULL, "account": f"a{n}", "api_key": f"sk-{n}"}) for n in range(100_000))
    directory = load_directory(write(tmp_path / "a.ndjson.gz", gzip.compress(b"\n".join(rows), 1)))
    assert len(directory) == len(directory._by_credential) == 100_000
    assert directory.by_credential(hashlib.sha256(b"sk-99999").digest()) == Account(**{**FULL, "account": "a99999"})
    assert directory.by_credential(hashlib.sha256(b"sk-100000").digest()) is None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "accounts.ndjson", ndjson({"account": "a1"}))


def replace(path: Path, data: bytes) -> None:
    os.replace(write(path.with_suffix(".new"), data), path)  # noqa: PTH105 - as operators do


def test_a_changed_file_is_read_again(path: Path) -> None:
    refresher = DirectoryRefresher(path)
    refresher.load()
    before = refresher.current
    refresher.look()
    assert refresher.current is before, "nothing changed"
    replace(path, ndjson({"account": "a2"}))
    refresher.look()
    assert list(refresher.current) == ["a2"]


def test_a_symlink_that_points_elsewhere_is_read_again(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "current.ndjson"
    link.symlink_to(path)
    refresher = DirectoryRefresher(link)
    refresher.load()
    other = write(tmp_path / "other.ndjson", ndjson({"account": "b1"}))
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    fresh = tmp_path / "fresh"
    fresh.symlink_to(other)
    fresh.replace(link)
    refresher.look()
    assert list(refresher.current) == ["b1"]


def test_a_bad_file_leaves_the_last_good_accounts_and_says_so(path: Path) -> None:
    refresher = DirectoryRefresher(path)
    refresher.load()
    replace(path, b'{"account":7}\n')
    refresher.look()
    assert list(refresher.current) == ["a1"]
    assert refresher.error == f"{path}:1:2: account: got 7, {TEXT}"
    path.unlink()
    refresher.look()
    assert list(refresher.current) == ["a1"]
    assert "No such file" in str(refresher.error)
    replace(path, ndjson({"account": "a3"}))
    refresher.look()
    assert list(refresher.current) == ["a3"]
    assert not refresher.error


def test_a_file_that_grows_while_it_is_read_is_not_believed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refresher = DirectoryRefresher(path)
    refresher.load()
    replace(path, ndjson({"account": "a2"}))

    def slow(at: Path) -> Any:
        directory = load_directory(at)
        with at.open("ab") as file:
            file.write(ndjson({"account": f"a{at.stat().st_size}"}))
        return directory

    monkeypatch.setattr("gateway.identity.refresh.load_directory", slow)
    with pytest.raises(ConfigError, match="changed while it was read"):
        refresher.load()
    refresher.look()
    assert list(refresher.current) == ["a1"]
    monkeypatch.undo()
    refresher.look()
    assert len(refresher.current) == 3
    assert refresher.error is None
