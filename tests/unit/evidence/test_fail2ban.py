"""Texts as fail2ban 1.0.2 prints them."""

import pytest

from fwproof.evidence.fail2ban import complaints, parse_jails, parse_status
from fwproof.evidence.fail2ban_config import parse_config

DUMP = r"""
['set', 'syslogsocket', 'auto']
['add', 'ollama-api', 'auto']
['set', 'ollama-api', 'usedns', 'warn']
['multi-set', 'ollama-api', 'addfailregex', ['^.*Invalid API key from <HOST>.*$', '^.*Authentication failed for.*$']]
['set', 'ollama-api', 'maxretry', 5]
['set', 'ollama-api', 'findtime', '600']
['set', 'ollama-api', 'bantime', '1h']
['set', 'ollama-api', 'addlogpath', '/var/log/ollama.log', 'head']
['set', 'ollama-api', 'addaction', 'ollama-api']
2026-11-23 20:00:00 WARNING something that is no list
['start', 'ollama-api']
"""
STATUS = """Status for the jail: ollama-api
|- Filter
|  |- Currently failed:	2
|  |- Total failed:	7
|  `- File list:	{files}
`- Actions
   |- Currently banned:	1
   |- Total banned:	1
   `- Banned IP list:	10.0.5.7 fd00:0:0:5::7
"""


def test_the_configuration_of_a_jail_is_read():
    jail = parse_config(DUMP).jails["ollama-api"]
    assert (jail.maxretry, jail.findtime, jail.bantime) == (5, 600, 3600)
    assert jail.log_paths == ("/var/log/ollama.log",)
    assert [action.name for action in jail.actions] == ["ollama-api"]


def test_the_failregex_that_names_no_host_is_told_by_its_number():
    assert parse_config(DUMP).jails["ollama-api"].without_host == ((2, "^.*Authentication failed for.*$"),)


@pytest.mark.parametrize("group", ["<HOST>", "<ADDR>", "<F-ID>x</F-ID>", "(?P<host>x)", "(?P<ip4>x)", "<SUBNET>"])
def test_every_way_to_name_a_host_counts(group):
    text = f"['add', 'j', 'auto']\n['set', 'j', 'addfailregex', 'from {group}$']"
    assert parse_config(text).jails["j"].without_host == ()


@pytest.mark.parametrize(("prefix", "refused"), [("<HOST> <F-CONTENT>.+</F-CONTENT>", False), ("x", True)])
def test_a_host_in_the_prefregex_is_one_for_every_failregex(prefix, refused):
    text = f"['add', 'j', 'auto']\n['set', 'j', 'addfailregex', '^locked$']\n['set', 'j', 'prefregex', '{prefix}']"
    assert bool(parse_config(text).jails["j"].without_host) is refused


@pytest.mark.parametrize(
    "text", ["", "garbage", "['set', 'nobody', 'maxretry', 5]", "[" * 5000, "['add']", "{'add': 1}"]
)
def test_text_that_is_no_dump_yields_no_jail(text):
    assert parse_config(text).jails == {}


def test_a_jail_with_an_empty_file_list_watches_nothing():
    jail = parse_status("ollama-api", STATUS.format(files=""))
    assert jail is not None
    assert not jail.watches_something


def test_the_status_of_a_jail_is_read():
    jail = parse_status("ollama-api", STATUS.format(files="/var/log/ollama.log"))
    assert jail is not None
    assert jail.watches_something
    assert jail.banned == ("10.0.5.7", "fd00:0:0:5::7")
    assert jail.failed == 2


def test_an_answer_that_is_no_status_is_not_a_jail_without_bans():
    assert parse_status("x", "ERROR   NOK: ('x',)\nSorry but the jail 'x' does not exist") is None


def test_the_jails_are_listed():
    assert parse_jails("Status\n|- Number of jail:\t2\n`- Jail list:\tollama-api, sshd\n") == ("ollama-api", "sshd")
    assert parse_jails("Failed to access socket path") == ()


def test_complaints_are_those_of_the_newest_start():
    log = (
        "2026 fail2ban.server INFO Starting Fail2ban v1.0.2\n2026 fail2ban.x ERROR old trouble\n"
        "2026 fail2ban.server INFO Starting Fail2ban v1.0.2\n"
        "2026-11-23 fail2ban.transmitter [22]: ERROR No failure-id group in '^.*Authentication failed for.*$'\n"
        "2026-11-23 fail2ban.actions [22]: NOTICE [ollama-api] Ban 10.0.5.7\n"
    )
    assert [line.split("ERROR ")[1] for line in complaints(log, "ollama-api")] == [
        "No failure-id group in '^.*Authentication failed for.*$'"
    ]
