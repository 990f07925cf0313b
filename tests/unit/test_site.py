"""The documentation site: it builds without a warning, asks nothing of any network, and its examples are right."""

import html.parser
import os
import re
import shlex
import subprocess
import sys
import urllib.parse
from pathlib import Path

import click
import pytest
import yaml

from fwproof.cli.main import cli
from fwproof.cli.schema import schema
from fwproof.policy.inventory_file import load_inventory
from fwproof.policy.load import load_policy
from fwproof.policy.waiver_file import load_waivers

from .shown import BLOCK, with_outputs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("howto/*.md"), DOCS / "index.md"])
INVENTORY = """\
zones: {internal: [10.0.0.0/16, "fd00::/48"], admin: 10.0.0.1, outside: 203.0.113.0/24}
hosts:
  web1: {addresses: [10.0.0.10, "fd00::10"], access: root}
  near: {addresses: [10.0.0.1, "fd00::1"], vantage: true, access: root}
  far: {addresses: 203.0.113.66, vantage: true, access: root}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does; a warning, such as a link that leads nowhere, is an error."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(folder / "trees")]
    done = subprocess.run([*words, str(DOCS), str(folder / "html")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder / "html"


FETCHED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src",
           "embed": "src", "object": "data", "link": "href", "input": "src", "use": "href"}  # fmt: skip
"""Where the elements that a browser fetches something for have its address."""


class Page(html.parser.HTMLParser):
    """What a browser would fetch for a page, where its links lead, and its anchors."""

    def __init__(self, path):
        super().__init__()
        self.fetched, self.links, self.anchors, self.style = [], [], set(), ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.anchors |= {known["id"]} if "id" in known else set()
        self.style += known.get("style") or ""
        self.fetched += [known[name] for name in {FETCHED.get(tag), "srcset", "poster"} if known.get(name)]
        if tag == "a" and "href" in known:
            self.links.append(known["href"])


def elsewhere(address):
    return bool(re.match(r"\s*(?:[a-z][a-z0-9+.-]*:)?//", address, re.IGNORECASE))


def test_pages_fetch_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for path in pages:
        page = Page(path)
        assert [address for address in page.fetched if elsewhere(address)] == [], path
        assert page.fetched, path
        for address in page.fetched:
            if not address.startswith("data:"):
                assert (path.parent / urllib.parse.urlsplit(address).path).exists(), (path, address)
    for path in site.rglob("*.css"):
        style = path.read_text(encoding="utf-8")
        used = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", style)
        assert [address for pair in used for address in pair if elsewhere(address)] == [], path
    for path in site.rglob("*.js"):
        script = path.read_text(encoding="utf-8")
        assert not re.search(r"(?:fetch|open|import|sendBeacon|WebSocket|EventSource)\(\s*[^)]{0,40}//", script), path
    assert not list(site.rglob("*.woff*"))


def test_that_would_be_noticed(tmp_path):
    (page := tmp_path / "page.html").write_text('<p id=a><link href="https://x.invalid/f.css"><img src=//x.invalid/i>')
    assert [elsewhere(address) for address in Page(page).fetched] == [True, True]


def test_links_within_the_site_lead_somewhere(site):
    """Sphinx sees to the links of Markdown; this also follows those that the theme makes, with their anchors."""
    pages = {path: Page(path) for path in site.rglob("*.html")}
    followed = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), (path, link)
            if parts.fragment and target in pages:
                assert parts.fragment in pages[target].anchors | {"top"}, (path, link)
                followed += 1
    assert followed > 500


def test_every_verb_is_in_the_reference(site):
    text = (site / "reference/command-line.html").read_text(encoding="utf-8")
    for name in cli.list_commands(click.Context(cli)):
        assert f"Usage: fwproof {name} [" in text, name


def test_every_kind_of_schema_is_in_the_reference(site):
    (kind,) = [each for each in schema.params if each.name == "kind"]
    assert [name for name in kind.type.choices if not (site / "reference" / f"{name}.html").is_file()] == []


def test_every_key_of_a_policy_is_in_the_reference(site):
    text = (site / "reference/policy.html").read_text(encoding="utf-8")
    for key in ("inbound", "evasion", "maxretry", "publish", "at_least", "route_localnet"):
        assert key in text, key


# ---- the examples of the how-tos


def blocks(page):
    """The blocks of a page, each its kind and its text."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


EXAMPLES = [(page.name, text) for page in PAGES for kind, text in blocks(page) if kind == "yaml"]
COMMANDS = sorted({
    line for page in PAGES for kind, text in blocks(page) if kind == "sh" for line in text.splitlines() if line
})  # fmt: skip


def test_no_block_escapes_these_tests():
    kinds = {kind for page in PAGES for kind, _ in blocks(page)}
    assert kinds == {"yaml", "sh", "console"}
    fences = sum(page.read_text(encoding="utf-8").count("```") for page in PAGES if page.name != "index.md")
    assert fences == 2 * sum(len(blocks(page)) for page in PAGES if page.name != "index.md")
    assert (len(EXAMPLES), len(COMMANDS)) > (8, 8)


@pytest.mark.parametrize(("page", "text"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_an_example_loads(page, text, tmp_path):
    kind = next(iter(yaml.safe_load(text)))
    (inventory := tmp_path / "inventory.yaml").write_text(INVENTORY + (text if kind == "defaults" else ""))
    loaded = load_inventory(inventory)
    if kind == "policy":
        (policy := tmp_path / "x.policy.yaml").write_text(text)
        assert load_policy(policy, loaded).hosts == ("web1",)
    elif kind == "waivers":
        (waivers := tmp_path / "waivers.yaml").write_text(text)
        load_waivers(waivers, loaded)
    else:
        assert kind == "defaults"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_parses(command):
    words = shlex.split(command.partition(" > ")[0])
    if words[:3] == ["ssh", "web1", "sudo"]:
        return
    assert words.pop(0) == "fwproof"
    verb, context = cli, click.Context(cli, info_name="fwproof")
    while isinstance(verb, click.Group):
        name = words.pop(0)
        verb = verb.get_command(context, name)
        assert verb is not None, name
        context = click.Context(verb, parent=context, info_name=name)
    verb.make_context(verb.name, words, resilient_parsing=True)


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_answers_are_what_the_commands_print(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    fresh = with_outputs(page.read_text(encoding="utf-8"))
    if os.environ.get("FWPROOF_GOLDEN") == "write":
        page.write_text(fresh, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == fresh, "FWPROOF_GOLDEN=write, then look"


def test_every_template_that_is_named_exists():
    for page in PAGES:
        for name in re.findall(r"`((?:docs|fixtures|checks)/[\w/.-]+)`", page.read_text(encoding="utf-8")):
            assert (ROOT / name).exists() or name == "checks/waivers.yaml", (page, name)
