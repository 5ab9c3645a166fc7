"""The console's page: who gets it, that nothing in it can be turned against its reader, and that what it asks is there."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

import gateway.console.page
from tests.test_admin import client_of, rooms_with

FOLDER = Path(gateway.console.page.__file__).with_name("page")
HTML, SCRIPT = (FOLDER / "index.html").read_text(), (FOLDER / "console.js").read_text()
FILES = ("/", "/console.css", "/console.js")


def basic(token: str, name: str = "anybody") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()}


@pytest.fixture
async def open_client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    rooms = rooms_with(tmp_path)
    await rooms.start()
    async with client_of(rooms) as client:
        yield client
    await rooms.stop()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    rooms = rooms_with(tmp_path, admin_token="correct:horse")
    await rooms.start()
    async with client_of(rooms) as client:
        yield client
    await rooms.stop()


@pytest.mark.parametrize("path", FILES)
async def test_without_the_token_a_browser_is_asked_for_it(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert answer.json()["error"]["status"] == 401
    assert (await client.get(path, headers=basic("correct:horse"))).status_code == 200
    assert (await client.get(path, headers={"authorization": "Bearer correct:horse"})).status_code == 200


async def test_a_browser_that_has_the_token_may_use_the_api(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/status", headers=basic("correct:horse"))).status_code == 200
    assert "www-authenticate" not in (await client.get("/api/status")).headers


@pytest.mark.parametrize(
    "authorization",
    ["", "Basic", "Basic !!", "Basic Y29ycmVjdDpob3JzZQ", "correct:horse", "Digest correct:horse", "Bearer", "Bearer "],
)
async def test_what_is_no_token_is_refused(client: httpx.AsyncClient, authorization: str) -> None:
    assert (await client.get("/", headers={"authorization": authorization})).status_code == 401


async def test_asking_without_a_token_is_no_guess_and_a_wrong_one_by_basic_is(client: httpx.AsyncClient) -> None:
    assert [(await client.get("/")).status_code for _ in range(40)] == [401] * 40
    statuses = [(await client.get("/", headers=basic(str(n)))).status_code for n in range(31)]
    assert statuses == [401] * 30 + [429]
    assert (await client.get("/", headers=basic("correct:horse"))).status_code == 429


async def test_a_name_that_was_rebound_to_this_machine_gets_no_page(tmp_path: Path) -> None:
    rooms = rooms_with(tmp_path)
    async with client_of(rooms, base_url="http://rebound.example") as client:
        assert [(await client.get(path)).status_code for path in FILES] == [403] * 3


@pytest.mark.parametrize("path", FILES)
async def test_the_browser_is_told_to_run_and_load_nothing_from_elsewhere(
    open_client: httpx.AsyncClient, path: str
) -> None:
    answer = await open_client.get(path)
    told = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert told["default-src"] == told["base-uri"] == told["form-action"] == told["frame-ancestors"] == "'none'"
    assert told["script-src"] == told["style-src"] == told["connect-src"] == "'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.names: set[str] = set()
        self.inline = ""
        self._within = ""
        self.feed(HTML)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._within = tag
        for name, value in attrs:
            self.names.add(name)
            if name in {"src", "href"}:
                self.links.append(value or "")
            if name == "id":
                self.ids.add(value or "")

    def handle_data(self, data: str) -> None:
        if self._within in {"script", "style"}:
            self.inline += data.strip()


def test_the_page_has_no_script_of_its_own_and_no_link_to_elsewhere() -> None:
    seen = Seen()
    assert sorted(seen.links) == ["console.css", "console.js", "data:,"]
    assert not seen.inline
    assert not [name for name in seen.names if name.startswith("on") or name == "style"]


def test_what_came_from_outside_is_never_markup_nor_code() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|srcdoc", SCRIPT)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", SCRIPT)


def test_every_element_that_the_script_looks_for_is_on_the_page() -> None:
    assert set(re.findall(r'\$\("([a-z-]+)"\)', SCRIPT)) <= Seen().ids


async def test_every_path_and_metric_that_the_script_asks_for_is_served(open_client: httpx.AsyncClient) -> None:
    for path in ("api/status", "api/clusters", "api/audit?limit=50", "metrics"):
        assert f'"{path}"' in SCRIPT
        assert (await open_client.get(f"/{path}")).status_code == 200
    case = {"subject": {"account": "a"}, "request": {"model": "m"}}
    explained = (await open_client.post("/api/explain", json=case)).json()
    (charge, *_) = explained["explanation"]["charges"]
    assert explained["words"]
    assert charge["amount"] >= charge["remaining"] >= charge["needs"]
    told = (await open_client.get("/metrics")).text
    for name in re.findall(r'"(distillguard_[a-z_]+?)(?:_total)?"', SCRIPT):
        assert f"# HELP {name}" in told
