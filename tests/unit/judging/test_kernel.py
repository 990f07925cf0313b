"""Judging the kernel's settings: joins, what boots, what is accepted, and what is not known."""

from ipaddress import ip_address
from pathlib import Path

import pytest

from fwproof.errors import HostError
from fwproof.evidence.sysctl_boot import Kernel as Started
from fwproof.facts import Facts
from fwproof.flow import Family
from fwproof.hosts.access import PLAIN_COMMANDS
from fwproof.inventory import Host, Inventory, SshAddress
from fwproof.judging import judge
from fwproof.judging.kernel_settings import SETTINGS, fits, lines
from fwproof.plan import Check, Kind
from fwproof.policy.model import Policy
from fwproof.policy.surround_shapes import SETTINGS as NAMES
from fwproof.policy.surround_shapes import KernelShape, wanted_settings
from fwproof.policy.table_model import AcceptedSetting, Kernel
from fwproof.results import Verdict
from fwproof.snapshot import Capture, Snapshot

PASS, FAIL, UNSURE, NONE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.NOT_APPLICABLE
POLICY = Policy(name="p", path=Path("p"), sha256="", hosts=("web",), services={})
ARGV = next(command.words for command in PLAIN_COMMANDS if command.name == "sysctl")
GOOD = """\
net.ipv4.ip_forward = 0
net.ipv4.conf.*.rp_filter = 1
net.ipv4.conf.*.accept_redirects = 0
net.ipv4.conf.*.send_redirects = 0
net.ipv4.conf.*.log_martians = 1
net.ipv6.conf.*.accept_redirects = 0
net.ipv6.conf.*.accept_ra = 0
"""
HARD = {
    "ipv4/conf/{}/rp_filter": "1", "ipv4/conf/{}/accept_redirects": "0", "ipv4/conf/{}/send_redirects": "0",
    "ipv4/conf/{}/log_martians": "1", "ipv6/conf/{}/accept_redirects": "0", "ipv6/conf/{}/accept_ra": "0",
}  # fmt: skip
TABLE = {"netfilter/nf_conntrack_count": "5", "netfilter/nf_conntrack_max": "1000",
         "netfilter/nf_conntrack_buckets": "1000"}  # fmt: skip


def running(changes, names=("eth0",)):
    """Return what the collector prints of a hardened host with changes; None takes a setting away."""
    values = Started((*names, "lo")).values | TABLE
    for path, value in HARD.items():
        values |= {path.format(name): value for name in ("all", "default", "lo", *names)}
    values |= changes
    return "".join(f"/proc/sys/net/{path}:{value}\n" for path, value in values.items() if value is not None)


def saved(*files, loader="systemd"):
    text = "".join(f"file {name}\n" + "".join(f"| {line}\n" for line in body.splitlines()) for name, body in files)
    return f"loader {loader}\n{text}"


def judged(changes=None, *, family=Family.IPV4, files=(("/etc/sysctl.d/9.conf", GOOD),), loader="systemd", argv=ARGV,
           more=None, accepted=(), boot=True, names=("eth0",), **settings):  # fmt: skip
    shape = KernelShape(settings=settings)
    kernel = Kernel(id="k", title="k", file="p", line=1, wanted=wanted_settings(shape), boot=boot, accepted=accepted)
    check = Check(id="c", kind=Kind.KERNEL, policy=POLICY, expectation=kernel, host="web", expected="", family=family,
                  vantage=None, peer=None, service=None, direction=None)  # fmt: skip
    texts = {"sysctl": running(changes or {}, names), "sysctl-files": saved(*files, loader=loader), "ip-addr": "[]"}
    texts |= more or {}
    captures = {
        name: Capture(name=name, argv=argv, status=0, stdout=text, stderr="", at="", seconds=0.0)
        for name, text in texts.items() if text is not None
    }  # fmt: skip
    faults = {name: HostError("web", f"{name} is gone") for name, text in texts.items() if text is None}
    web = Host(name="web", addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")), ssh=SshAddress(address="x"))
    facts = Facts(
        inventory=Inventory(path=Path("i"), sha256="", hosts={"web": web}, zones={}), models={}, agents={},
        snapshots={"web": Snapshot(host="web", captures=captures, faults=faults)},
    )  # fmt: skip
    return judge(check, facts)


@pytest.mark.parametrize("family", list(Family))
def test_a_hardened_host_passes(family):
    found = judged(family=family)
    assert (found.verdict, found.reason.split(";")[0]) == (
        PASS, "every setting counts as expected on every interface, also after a reboot",
    )  # fmt: skip
    assert "loaded at boot by systemd, in this order: /etc/sysctl.d/9.conf" in found.observed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ipv4/conf/eth0/forwarding": "1"}, "ipv4 forwarding of eth0 is on"),
        ({"ipv4/conf/all/rp_filter": "0", "ipv4/conf/eth0/rp_filter": "0"}, "rp_filter of eth0 is 0: all 0, its own 0"),
        ({"ipv4/conf/all/rp_filter": "2"}, "rp_filter of eth0, interfaces to come is 2"),
        ({"ipv4/conf/all/accept_source_route": "1"}, "accept_source_route of eth0"),
        ({"ipv4/conf/eth0/accept_redirects": "1"}, "accept_redirects of eth0 is on: all 0, its own 1"),
        ({"ipv4/conf/all/send_redirects": "1"}, "send_redirects of eth0, interfaces to come is on"),
        ({"ipv4/conf/all/route_localnet": "1"}, "route_localnet of eth0"),
        ({"ipv4/conf/all/log_martians": "0", "ipv4/conf/eth0/log_martians": "0"}, "log_martians of eth0 is off"),
        ({"ipv4/tcp_syncookies": "0"}, "tcp_syncookies is 0, expected on"),
        ({"ipv4/icmp_echo_ignore_broadcasts": "0"}, "icmp_echo_ignore_broadcasts is 0"),
        ({"ipv4/icmp_ignore_bogus_error_responses": "0"}, "icmp_ignore_bogus_error_responses is 0"),
        ({"netfilter/nf_conntrack_helper": "1"}, "nf_conntrack_helper is 1"),
        ({"netfilter/nf_conntrack_count": "800"}, "conntrack_table: 800 of 1,000 entries are in use"),
        ({"netfilter/nf_conntrack_buckets": "100"}, "conntrack_table: 1,000 entries in 100 buckets"),
    ],
)  # fmt: skip
def test_each_setting_of_ipv4_fails_by_itself(changes, words):
    found = judged(changes)
    assert (found.verdict, found.cause) == (FAIL, "the kernel's settings are not hardened")
    assert words in found.reason
    assert found.fix


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ipv6/conf/all/forwarding": "1"}, "ipv6 forwarding of eth0"),
        ({"ipv6/conf/eth0/force_forwarding": "1"}, "ipv6 forwarding of eth0 is on: all 0"),
        ({"ipv6/conf/eth0/accept_redirects": "1"}, "accept_redirects of eth0 is on"),
        ({"ipv6/conf/eth0/accept_ra": "1"}, "accept_ra of eth0 is on"),
        ({"ipv6/conf/all/accept_source_route": "1", "ipv6/conf/eth0/accept_source_route": "1"}, "accept_source_route"),
        ({"ipv6/conf/all/seg6_enabled": "1", "ipv6/conf/eth0/seg6_enabled": "1"}, "seg6_enabled of eth0"),
        ({"ipv6/conf/all/rpl_seg_enabled": "1", "ipv6/conf/eth0/rpl_seg_enabled": "1"}, "rpl_seg_enabled of eth0"),
    ],
)
def test_each_setting_of_ipv6_fails_by_itself(changes, words):
    found = judged(changes, family=Family.IPV6)
    assert (found.verdict, words in found.reason) == (FAIL, True), found.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"ipv4/conf/all/accept_source_route": "0", "ipv4/conf/eth0/accept_source_route": "1"},
        {"ipv4/conf/all/rp_filter": "0"},
        {"ipv4/conf/all/log_martians": "0"},
        {"ipv4/conf/lo/accept_redirects": "1"},
    ],
)
def test_what_the_other_of_the_two_makes_up_for_is_no_finding(changes):
    assert judged(changes).verdict is PASS


@pytest.mark.parametrize(
    "changes",
    [
        {"ipv6/conf/all/accept_redirects": "1"},
        {"ipv6/conf/all/accept_ra": "1"},
        {"ipv6/conf/all/seg6_enabled": "1"},
        {"ipv6/conf/eth0/accept_ra": "1", "ipv6/conf/eth0/disable_ipv6": "1"},
        {"ipv6/conf/eth0/accept_redirects": "1", "ipv6/conf/eth0/forwarding": "1"},
    ],
)
def test_what_ipv6_does_not_look_at_is_no_finding(changes):
    assert judged(changes, family=Family.IPV6).verdict is PASS


def test_a_value_that_nothing_writes_at_boot_does_not_survive():
    found = judged(files=[("/etc/sysctl.d/9.conf", GOOD.replace("net.ipv4.conf.*.rp_filter = 1\n", ""))])
    assert (found.verdict, found.cause) == (FAIL, "the kernel's settings do not survive a reboot")
    assert "rp_filter of eth0, interfaces to come is as expected now (1), and is 0 after a reboot" in found.reason
    assert "nothing writes it at boot, so the kernel's default counts" in found.reason
    assert "net.ipv4.conf.*.rp_filter = 1" in found.fix
    assert judged(files=[], boot=False).verdict is PASS


def test_a_later_file_that_says_otherwise_is_named_with_its_line():
    late = ("/usr/lib/sysctl.d/99-late.conf", "# no\nnet.ipv4.conf.all.rp_filter = 2\n")
    found = judged(files=[("/etc/sysctl.d/9.conf", GOOD), late])
    assert found.verdict is FAIL
    assert "net.ipv4.conf.all.rp_filter = 2 in /usr/lib/sysctl.d/99-late.conf:2" in found.reason


def test_files_that_were_not_loaded_since_are_told():
    found = judged({"ipv4/tcp_syncookies": "0"})
    assert "expected on; the files say otherwise, and were not loaded since" in found.reason


def test_an_interface_that_comes_late_makes_a_difference_in_ipv6():
    """``default`` reaches only interfaces that are not there yet when it is written."""
    text = GOOD.replace("net.ipv6.conf.*.accept_ra = 0", "net.ipv6.conf.default.accept_ra = 0")
    found = judged(files=[("/etc/sysctl.d/9.conf", text)], family=Family.IPV6)
    assert (found.verdict, "accept_ra of eth0 is as expected now (0), and may be 1" in found.reason) == (FAIL, True)
    assert judged(files=[("/etc/sysctl.d/9.conf", text)], loader="procps", family=Family.IPV6).verdict is FAIL


def test_nobody_who_loads_the_files_is_told():
    found = judged(loader="nobody")
    assert found.verdict is FAIL
    assert "nothing loads settings at boot" in found.evidence
    assert any("/etc/sysctl.d/9.conf holds settings, and nothing loads it" in line for line in found.evidence)


def test_the_file_of_systems_without_systemd_is_loaded_by_procps_alone():
    files = [("/etc/sysctl.conf", GOOD)]
    assert judged(files=files, loader="procps").verdict is PASS
    found = judged(files=files)
    assert found.verdict is FAIL
    assert "/etc/sysctl.conf holds settings, and nothing loads it" in found.evidence


UFW = {"ufw.conf": "ENABLED=yes\n", "boot-links": "/etc/systemd/system/multi-user.target.wants/ufw.service\n"}


def test_ufw_writes_its_own_last_where_it_starts():
    files = [("/etc/sysctl.d/9.conf", GOOD), ("/etc/ufw/sysctl.conf", "net/ipv4/conf/all/accept_redirects=1\n")]
    assert judged(files=files).verdict is PASS
    assert judged(files=files, more=UFW | {"ufw.conf": "ENABLED=no\n"}).verdict is PASS
    found = judged(files=files, more=UFW)
    assert (found.verdict, "accept_redirects of eth0" in found.reason, "ufw's own" in found.observed) == (
        FAIL,
        True,
        True,
    )


def test_a_policy_may_want_something_else_and_accept_an_interface():
    assert judged({"ipv4/conf/all/rp_filter": "2"}, rp_filter="loose").verdict is PASS
    assert judged(rp_filter="off").verdict is FAIL
    assert judged({"ipv4/tcp_syncookies": "0"}, tcp_syncookies="unchecked").verdict is PASS
    names = ("eth0", "veth7")
    changes = {"ipv4/conf/veth7/accept_redirects": "1"}
    accept = AcceptedSetting("accept_redirects", "veth*", "a container's")
    found = judged(changes, names=names, accepted=(accept,))
    assert (found.verdict, "accepted (a container's): accept_redirects of veth7" in found.reason) == (PASS, True)
    for other in (AcceptedSetting("accept_redirects", "eth*", "x"), AcceptedSetting("rp_filter", "veth*", "x")):
        assert judged(changes, names=names, accepted=(other,)).verdict is FAIL
    full = {"netfilter/nf_conntrack_count": "999"}
    assert judged(full, accepted=(AcceptedSetting("conntrack_table", "", "x"),)).verdict is PASS
    assert judged(full, conntrack_table="unchecked").verdict is PASS


def test_a_router_has_to_forward():
    assert wanted_settings(KernelShape(router=True))["forwarding"] == "on"
    found = judged(forwarding="on", boot=False)
    assert (found.verdict, "ipv4 forwarding of eth0" in found.reason) == (FAIL, True)
    on = {f"ipv4/conf/{name}/forwarding": "1" for name in ("all", "default", "eth0")} | {"ipv4/ip_forward": "1"}
    assert judged(on, forwarding="on", boot=False).verdict is PASS
    assert judged(on, forwarding="on").verdict is FAIL, "nothing writes it at boot"


def test_rules_that_do_not_see_a_bridge_are_told_or_fail():
    ports = {"ip-addr": '[{"ifname": "eth1", "master": "br0"}, {"ifname": 5}, 7]'}
    gone = {"bridge/bridge-nf-call-iptables": None, "bridge/bridge-nf-call-ip6tables": None}
    told = judged(gone, more=ports)
    assert (told.verdict, "eth1 belongs to br0: if that is a bridge" in told.reason) == (PASS, True)
    assert "br0" not in judged(more=ports).reason
    assert judged(gone, more=ports, bridged="on").verdict is FAIL
    assert judged(gone, bridged="off", boot=False).verdict is PASS


def test_what_is_not_there_or_was_not_read_is_told_apart():
    assert judged({"netfilter/nf_conntrack_helper": None}).verdict is PASS
    bare = dict.fromkeys(TABLE) | {"netfilter/nf_conntrack_tcp_loose": None}
    none = judged(bare, conntrack_loose="off", boot=False)
    assert (none.verdict, "conntrack is not loaded" in none.reason) == (PASS, True)
    old = tuple(word for word in ARGV if "syncookies" not in word)
    found = judged({"ipv4/tcp_syncookies": None}, argv=old)
    assert (found.verdict, "tcp_syncookies was not read" in found.reason) == (UNSURE, True)
    for key, path, family in (
        ("nf_conntrack_helper", "netfilter/nf_conntrack_helper", Family.IPV4),
        ("force_forwarding", "ipv6/conf/eth0/force_forwarding", Family.IPV6),
        ("seg6_enabled", "ipv6/conf/eth0/seg6_enabled", Family.IPV6),
    ):
        assert judged({path: None}, family=family).verdict is PASS, "this kernel has none"
        older = tuple(word for word in ARGV if key not in word)
        found = judged({path: None}, family=family, argv=older)
        assert (found.verdict, f"{key} was not read" in found.reason) == (UNSURE, True), "this snapshot did not ask"
    assert judged({"ipv4/conf/eth0/rp_filter": None}).verdict is UNSURE
    assert judged({"ipv4/tcp_syncookies": "yes"}).verdict is UNSURE
    assert judged(dict.fromkeys(TABLE), argv=()).verdict is UNSURE


def test_boot_that_was_not_read_is_no_pass():
    assert judged(more={"sysctl-files": None}).verdict is UNSURE
    assert judged(more={"sysctl-files": "sh: not found"}).verdict is UNSURE
    assert judged(more={"sysctl-files": "loader windows\n"}).verdict is UNSURE
    hidden = saved(("/etc/sysctl.d/9.conf", GOOD)) + "unreadable /etc/sysctl.d/99-secret.conf\n"
    found = judged(more={"sysctl-files": hidden})
    assert (found.verdict, "/etc/sysctl.d/99-secret.conf is read at boot, and cannot be" in found.reason) == (
        UNSURE,
        True,
    )
    with pytest.raises(HostError):
        judged(more={"sysctl": None})
    with pytest.raises(HostError, match="cannot be read"):
        judged(more={"sysctl": "rubbish"})


def test_a_kernel_without_ipv6_has_nothing_to_judge():
    text = "".join(line for line in running({}).splitlines(keepends=True) if "ipv6" not in line)
    assert judged(family=Family.IPV6, more={"sysctl": text}).verdict is NONE


def test_every_name_of_a_policy_is_a_setting_and_every_fix_does_what_it_says():
    assert {setting.name for setting in SETTINGS} | {"conntrack_table"} == set(NAMES)
    for setting in SETTINGS:
        for word in ("on", "off"):
            value = int(lines(setting, word)[0].rpartition("= ")[2])
            assert fits(word, value)
    assert not fits("strict", 2)
    assert fits("loose", 1)
