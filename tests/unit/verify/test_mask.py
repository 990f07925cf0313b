"""A copy with other addresses: no address is left, networks stay networks, and what it cannot show is counted."""

import json
import re
from ipaddress import ip_address, ip_network

import pytest
from click.testing import CliRunner

from fwproof.cli.main import cli
from fwproof.errors import UsageError
from fwproof.report.manifest import digest
from fwproof.report.mask import Mask, masked_copy
from fwproof.verify.verify import verify

from .stored_run import edit, files

KEY = bytes(range(32))
ADDRESSES = re.compile(rb"(?<![\d.])(?:10\.0\.0\.(?:1|9|254)|192\.0\.2\.7)(?![\d])")


@pytest.fixture(scope="module")
def copy(pristine, tmp_path_factory):
    place = tmp_path_factory.mktemp("copies") / "copy"
    masked_copy(pristine, place, KEY)
    return place


def shared(a, b):
    """How many bits two addresses share in front."""
    return a.max_prefixlen - (int(a) ^ int(b)).bit_length()


def test_no_address_is_left_in_any_file(pristine, copy):
    assert any(ADDRESSES.search(content) for content in files(pristine).values())
    for path, content in files(copy).items():
        assert not ADDRESSES.search(content), (path, ADDRESSES.search(content))
    assert not [path for path in files(copy) if path.endswith(".pcap")]


def test_every_file_has_the_same_pseudonym(copy):
    near = str(Mask(KEY).address(ip_address("10.0.0.9")))
    for path in ("policy/inventory.yaml", "evidence/facts.jsonl", "results.json", "report.html"):
        assert near.encode() in (copy / path).read_bytes(), path


def test_the_copy_sums_up_and_names_the_original(pristine, copy):
    found = verify(copy)
    assert found.problems == []
    assert found.status == 6
    assert digest((pristine / "SHA256SUMS").read_bytes()) in found.masked
    manifest = json.loads((copy / "manifest.json").read_bytes())
    assert manifest["left_out"] == ["evidence/probes/web-exercises.pcap", "evidence/probes/web.pcap"]


def test_what_it_cannot_show_is_counted_and_the_rest_worked_out(copy):
    found = verify(copy)
    assert len(found.recomputed.same) + len(found.recomputed.impossible) == found.checks
    assert len(found.recomputed.same) > found.checks // 2
    assert all(why.startswith("not shown by a masked copy: ") for why in found.recomputed.impossible.values())
    done = CliRunner().invoke(cli, ["verify", str(copy)])
    assert done.exit_code == 6
    assert "verified in part" in done.output


def test_a_run_is_not_called_masked_to_hide_a_forgery(stored):
    edit(stored, lambda document: document["checks"][0].update(verdict="fail"))
    manifest = json.loads((stored / "manifest.json").read_bytes())
    manifest["masked"] = {"run": "x", "sha256sums": "0"}
    (stored / "manifest.json").write_text(json.dumps(manifest))
    assert verify(stored).status == 1  # its hash; and with that done again, it is verified in part at the most
    edit(stored, lambda document: document.update(masked={"run": "x", "sha256sums": "0"}), "manifest.json")
    assert verify(stored).status != 0


def test_the_key_is_beside_the_copy_and_for_its_owner_alone(pristine, tmp_path):
    done = CliRunner().invoke(cli, ["bundle", "--mask-addresses", "-o", str(tmp_path / "copy"), str(pristine)])
    assert done.exit_code == 0, done.output
    key = tmp_path / "copy.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(key.read_text())) == 32
    assert not any(key.read_text().strip().encode() in content for content in files(tmp_path / "copy").values())
    with pytest.raises(UsageError, match="is already there"):
        masked_copy(pristine, tmp_path / "copy")
    with pytest.raises(UsageError, match="is a masked copy itself"):
        masked_copy(tmp_path / "copy", tmp_path / "second")
    with pytest.raises(UsageError, match="is no run that can be copied"):
        masked_copy(tmp_path, tmp_path / "third")


def test_two_keys_give_two_copies(pristine, tmp_path):
    for name in ("a", "b"):
        masked_copy(pristine, tmp_path / name)
    inventories = {(tmp_path / name / "policy/inventory.yaml").read_bytes() for name in ("a", "b")}
    assert len(inventories) == 2


@pytest.mark.parametrize(("a", "b"), [
    ("10.0.0.1", "10.0.0.9"), ("10.0.0.1", "10.7.0.1"), ("192.0.2.7", "192.0.2.6"), ("203.0.113.7", "8.8.8.8"),
    ("fd00:0:0:1::1", "fd00:0:0:2::1"), ("2001:db8::1", "2001:db8:9::9"),
])  # fmt: skip
def test_prefixes_are_kept(a, b):
    mask, a, b = Mask(KEY), ip_address(a), ip_address(b)
    assert shared(mask.address(a), mask.address(b)) == shared(a, b)
    assert mask.address(a) != a


@pytest.mark.parametrize(
    "same", ["127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "169.254.1.1", "::1", "::", "ff02::1", "fe80::1"]
)
def test_what_means_the_same_everywhere_stays(same):
    assert str(Mask(KEY).address(ip_address(same))) == same


def test_addresses_are_found_in_text():
    mask = Mask(KEY)
    four, six = mask.address(ip_address("10.0.0.1")), mask.address(ip_address("fd00:0:0:1::10"))
    cases = {
        "-s 10.0.0.1/32 -d 10.0.0.1": f"-s {four}/32 -d {four}",
        "tcp 10.0.0.1:22 -> x": f"tcp {four}:22 -> x",
        "udp [fd00:0:0:1::10]:53": f"udp [{six}]:53",
        "-> fd00:0:0:1::10: arrived": f"-> {six}: arrived",
        "SRC=10.0.0.1 DST=fd00:0:0:1::10.": f"SRC={four} DST={six}.",
        '"10.0.0.1"': f'"{four}"',
        "at 10.0.0.1.": f"at {four}.",
    }
    assert {text: mask.text(text) for text in cases} == cases
    for text in ("v1.8.9", "1.2.3.4.5", "10:20", "nf_tables::x", "2026-11-22T10:00:00Z", "999.1.1.1", "c2:d3"):
        assert mask.text(text) == text, text
    network = ip_network(mask.text("10.0.0.0/24"))
    assert (network.prefixlen, four in network) == (24, True)
    assert mask.text("0.0.0.0/0 ::/0") == "0.0.0.0/0 ::/0"


def test_stations_are_replaced_as_well():
    mask = Mask(KEY)
    made = mask.text("02:42:ac:11:00:02")
    assert made != "02:42:ac:11:00:02"
    assert mask.text("MAC=02:42:ac:11:00:02:02:42:ac:11:00:02:08:00 SRC") == f"MAC={made}:{made}:08:00 SRC"
    assert mask.text("ff:ff:ff:ff:ff:ff") == "ff:ff:ff:ff:ff:ff"
