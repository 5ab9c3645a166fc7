"""One small file for each mistake; the comments on top of it are the whole messages that it must give."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import FileErrors
from gateway.policy import load_policies

BAD = Path(__file__).parents[1] / "policies" / "bad"
FILES = sorted(path.name for path in BAD.glob("*.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_the_mistake_is_named_with_place_and_remedy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    expected = []
    for line in Path(name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        expected.append(f"{name}:{line[2:]}")
    with pytest.raises(FileErrors) as caught:
        load_policies(Path(name), environ={})
    assert str(caught.value).splitlines() == expected


def test_there_is_a_file_for_each_of_many_mistakes() -> None:
    assert len(FILES) >= 60


@pytest.mark.parametrize("name", FILES)
def test_no_message_shows_a_secret(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    with pytest.raises(FileErrors) as caught:
        load_policies(Path(name), environ={})
    for secret in ("sk-not-here", "u:p@"):
        assert secret not in str(caught.value)
