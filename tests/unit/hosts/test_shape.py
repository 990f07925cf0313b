import subprocess

import pytest

from fwproof.errors import CommandRefused, Garbled, NotThere
from fwproof.hosts.access import SUDO, Command, commands
from fwproof.hosts.boot_commands import nft_boot
from fwproof.hosts.filter_commands import FILTERS
from fwproof.hosts.refusal import raise_if_refused
from fwproof.hosts.shape import fault_of
from fwproof.snapshot import Capture

SAVE = "# Generated\n*filter\n:INPUT ACCEPT [0:0]\n[1:2] -A INPUT -j DROP\nCOMMIT\n# Completed\n"


def command(shape="text", words=("/usr/bin/cat", "/etc/iptables/rules.v4"), name="it"):
    return Command(name=name, words=words, root=True, shape=shape)


def capture(of, stdout="", stderr="", status=0):
    return Capture(
        name=of.name, argv=(*SUDO, *of.words), status=status, stdout=stdout, stderr=stderr, at="", seconds=0.0
    )


@pytest.mark.parametrize(
    ("shape", "stdout", "wrong"),
    [
        ("iptables-save", SAVE, None),
        ("iptables-save", SAVE + SAVE.replace("filter", "nat"), None),
        ("iptables-save", "", None),
        ("iptables-save", "# Warning: iptables-legacy tables present\n", None),
        ("iptables-save", SAVE.replace("COMMIT\n", ""), "COMMIT is missing"),
        ("iptables-save", "rubbish\n", "line 1"),
        ("iptables-save", "Connection to 10.0.0.1 closed\n" + SAVE, "line 1"),
        ("iptables-save", SAVE + "-A INPUT -j ACCEPT\n", "line 7"),
        ("iptables-save", "*filter\n*nat\nCOMMIT\n", "line 2"),
        ("nft-json", '{"nftables": []}', None),
        ("nft-json", '{"nftables": [', "nft's JSON"),
        ("nft-json", "[]", "nft's JSON"),
        ("nft-json", "", "nft's JSON"),
        ("nft-json", "[" * 100000, "nft's JSON"),
        ("json-list", "[ ]", None),
        ("json-list", "", "JSON list"),
        ("json-list", "{}", "JSON list"),
        ("ipset-save", "create a hash:ip\nadd a 10.0.0.1\n", None),
        ("ipset-save", "", None),
        ("ipset-save", "rubbish", "line 1"),
        ("uname", "Linux h 6.1\n", None),
        ("uname", "FreeBSD", "another system"),
        ("traffic-control", "eth0 ingress []\neth0 queue \n", None),
        ("traffic-control", "", None),
        ("traffic-control", "eth0 ingress []\neth0 sideways []\n", "line 2"),
        ("traffic-control", "rubbish\n", "line 1"),
        ("text", "anything", None),
    ],
)
def test_shapes(shape, stdout, wrong):
    fault = fault_of("h", command(shape), capture(command(shape), stdout))
    if wrong is None:
        assert fault is None
    else:
        assert isinstance(fault, Garbled)
        assert wrong in fault.message


NO_FILE = "/usr/bin/cat: /etc/iptables/rules.v4: No such file or directory\n"


FIREWALL = ("/usr/bin/firewall-cmd", "--list-all-zones")
LOADED = nft_boot("/etc/nftables.conf")
UNFOUND = 'internal:0:0-0: Error: Could not open file "{}": No such file or directory\n'
NO_BUS = "Error: DBUS_ERROR: Failed to connect to socket /run/dbus/system_bus_socket: No such file or directory\n"


@pytest.mark.parametrize(
    ("words", "stderr", "status", "kind", "message"),
    [
        (None, NO_FILE, 1, NotThere, "/etc/iptables/rules.v4: No such file or directory"),
        (None, "cat: /etc/iptables/rules.v4: Permission denied", 1, CommandRefused, "Permission denied"),
        (None, "cat: /etc/other: No such file or directory\n", 1, CommandRefused, "ended with status 1"),
        (("/usr/sbin/x", "/f"), "x: /f: No such file or directory\n", 1, CommandRefused, "ended with status 1"),
        (
            ("/usr/bin/tail", "-n", "9", "/a b"), "tail: cannot open '/a b' for reading: No such file or directory",
            1, NotThere, "/a b: No such file",
        ),
        (None, "sudo: a password is required\n", 1, CommandRefused, "asks for a password"),
        (None, "sudo: a terminal is required …\n", 1, CommandRefused, "asks for a password"),
        (None, "Sorry, user a is not allowed to execute '/x' as root on h.\n", 1, CommandRefused, "does not allow"),
        (None, "a is not in the sudoers file.\n", 1, CommandRefused, "does not allow"),
        (None, "sudo: /etc/sudoers is world writable\n", 1, CommandRefused, "world writable"),
        (None, "sudo: /usr/bin/cat: command not found\n", 1, NotThere, "/usr/bin/cat: not installed"),
        (FIREWALL, "FirewallD is not running\n", 252, NotThere, "firewalld is installed and does not run"),
        (FIREWALL, NO_BUS, 36, NotThere, "firewalld is installed and does not run"),
        (FIREWALL, "Authorization failed.\n", 253, CommandRefused, "Authorization failed"),
        (LOADED, UNFOUND.format("/etc/nftables.conf"), 1, NotThere, "/etc/nftables.conf: No such file"),
        (LOADED, UNFOUND.format("/etc/nftables.d/a.nft"), 1, CommandRefused, "ended with status 1"),
        (None, "", 252, CommandRefused, "ended with status 252"),
        (None, "", -1, CommandRefused, "was killed"),
        (None, "", 3, CommandRefused, "ended with status 3: no message"),
    ],
)  # fmt: skip
def test_failures(words, stderr, status, kind, message):
    of = command() if words is None else command(words=words)
    fault = fault_of("h", of, capture(of, "", stderr, status))
    assert type(fault) is kind
    assert message in fault.message


FAKE = """\
#!/bin/sh
case "$*" in
  'qdisc show') cat list ;;
  *'dev gone'*) echo 'Cannot find device "gone"' >&2; exit 1 ;;
  *'dev shut'*) echo 'RTNETLINK answers: Operation not permitted' >&2; exit 2 ;;
  *) printf '[\\n"%s"]\\n' "$*" ;;
esac
"""
LIST = """\
qdisc noqueue 0: dev lo root refcnt 2
qdisc mq 0: dev eth0 root
qdisc fq_codel 0: dev eth0 parent :1 limit 10240p
qdisc clsact ffff: dev eth0 parent ffff:fff1
qdisc fq_codel 0: dev eth1 root refcnt 2 limit 10240p
qdisc mqprio 8001: dev eth2 root tc 2
             queues:(0:1) (2:3)
qdisc ingress ffff: dev gone parent ffff:fff1
qdisc ingress ffff: dev $(id) parent ffff:fff1 ingress_block 22
"""
SHOWN = """\
eth0 ingress [ "-j filter show dev eth0 ingress"]
eth0 egress [ "-j filter show dev eth0 egress"]
eth1 queue [ "-j filter show dev eth1"]
eth2 queue [ "-j filter show dev eth2 parent 8001:"]
$(id) ingress [ "-j filter show dev $(id) ingress"]
"""


def filters_of(folder, listed, tc=FAKE):
    """Run the script about filters with a tc of our own, which says what it was asked."""
    if tc:
        (folder / "tc").write_text(tc)
        (folder / "tc").chmod(0o755)
    (folder / "list").write_text(listed)
    script = FILTERS.replace("for tc in /usr/sbin/tc /sbin/tc /usr/bin/tc", "for tc in ./none ./tc")
    assert script != FILTERS
    done = subprocess.run(["/bin/sh", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    of = command("traffic-control", ("/bin/sh", "-c", FILTERS), "traffic-control")
    return done.stdout, fault_of("h", of, capture(of, done.stdout, done.stderr, done.returncode))


def test_every_place_where_a_filter_can_be_is_asked_and_a_device_that_has_gone_is_none(tmp_path):
    assert filters_of(tmp_path, LIST) == (SHOWN, None)


def test_filters_that_cannot_be_asked_are_not_none(tmp_path):
    _, fault = filters_of(tmp_path, f"{LIST}qdisc clsact ffff: dev shut parent ffff:fff1\n")
    assert (type(fault), "Operation not permitted" in fault.message) == (CommandRefused, True)
    _, fault = filters_of(tmp_path, LIST, FAKE.replace("cat list", "echo no >&2; exit 3"))
    assert type(fault) is CommandRefused


def test_a_host_without_tc_lacks_it(tmp_path):
    shown, fault = filters_of(tmp_path, LIST, "")
    assert (shown, type(fault), fault.message) == ("", NotThere, "/usr/sbin/tc: not installed")


def test_a_plain_command_is_not_refused_by_what_it_prints():
    raise_if_refused("h", ("/usr/bin/cat", "/f"), "sudo: a password is required\nsudo: /f: command not found\n")


def test_env_says_what_is_not_installed():
    with pytest.raises(NotThere, match="/bin/x: not installed"):
        raise_if_refused("h", ("/bin/x",), "/usr/bin/env: '/bin/x': No such file or directory\n")
    raise_if_refused("h", ("/bin/sh", "-s"), "/usr/bin/env: '/bin/x': No such file or directory\n")


def test_every_command_has_a_shape_that_is_checked(a_host):
    for of in commands(a_host()):
        fault_of("h", of, capture(of, "x"))
