"""The order of the boot: when loaders come, what is open until then, and loaders that undo one another."""

from types import SimpleNamespace

import pytest

from fwproof.errors import CommandRefused
from fwproof.judging import judge
from fwproof.plan import Check, Kind
from fwproof.policy.model import Policy
from fwproof.policy.table_model import Persistence
from fwproof.results import Verdict
from fwproof.semantics.model import HostModel
from fwproof.snapshot import Capture, Snapshot

PASS, FAIL, UNSURE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
WANTS = "/etc/systemd/system/multi-user.target.wants"
SOCKETS = (
    'tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))\n'
    'tcp LISTEN 0 128 127.0.0.1:25 0.0.0.0:* users:(("exim4",pid=2,fd=3))\n'
)
GOOD = ("Before=network-pre.target", "Wants=network-pre.target")
NETWORK = ("After=local-fs.target network-pre.target",)


def unit(name, *lines, folder="/lib/systemd/system", drop_in=""):
    file = f"{folder}/{name}.service" + (f".d/{drop_in}" if drop_in else "")
    return "".join(f"unit {file}: {line}\n" for line in ("[Unit]", *lines))


def judged(text="", *loaders, enabled=(), faults=None, forwards=False, **texts):
    texts = {
        "boot-links": "".join(f"{WANTS}/{name}.service\n" for name in loaders), "socket-owners": SOCKETS,
        "boot-units": text + "".join(f"enabled {WANTS}/{name}.service\n" for name in (*loaders, *enabled)),
        **{name.replace("_", "-"): value for name, value in texts.items()},
    }  # fmt: skip
    captures = {name: Capture(name=name, argv=(), status=0, stdout=value, stderr="", at="", seconds=0.0)
                for name, value in texts.items()}  # fmt: skip
    sysctls = f"/proc/sys/net/ipv4/ip_forward:{int(forwards)}\n"
    facts = SimpleNamespace(
        snapshot=lambda _: Snapshot(host="h", captures=captures, faults=faults or {}),
        model=lambda _: HostModel.build(iptables_save="", sysctls=sysctls),
    )  # fmt: skip
    policy = Policy(name="p", path=None, sha256="", hosts=("h",), services={})
    expectation = Persistence(id="p", title="", file="f", line=1)
    check = Check(id="c", kind=Kind.BOOT, policy=policy, expectation=expectation, host="h", expected="")
    return judge(check, facts)


@pytest.mark.parametrize(
    ("text", "verdict", "words"),
    [
        (unit("nftables", *GOOD), PASS, "nftables.service loads its rules before network-pre.target"),
        (unit("nftables", *GOOD) + unit("networking", *NETWORK), PASS, "before networking"),
        (unit("nftables", *GOOD) + unit("networking", "After=local-fs.target"), FAIL,
         "networking brings up interfaces and does not wait for nftables.service"),
        (unit("nftables", "Before=networking.service") + unit("networking"), PASS, "before networking"),
        (unit("nftables", "Before=a.target") + unit("networking", "After=a.target"), PASS, "before networking"),
        (unit("nftables") + unit("networking", *NETWORK), FAIL, "does not come before network-pre.target"),
        (unit("nftables", "After=network-online.target"), FAIL, "but after network-online.target"),
        (unit("nftables", "Before=network-pre.target"), FAIL, "nothing wants that target, so it orders nothing"),
        (unit("nftables", "Before=network-pre.target") + unit("networking", *NETWORK), FAIL, "nothing wants that"),
        (unit("nftables", "Before=network-pre.target") + unit("ufw", *GOOD), FAIL, "nothing wants that target"),
        (unit("nftables", "Before=network-pre.target") + unit("networking", *NETWORK, GOOD[1]), PASS, "before"),
        (unit("nftables") + unit("nftables", *GOOD, folder="/etc/systemd/system", drop_in="x.conf"), PASS, "before"),
        ("", UNSURE, "nftables has no unit of systemd"),
    ],
)  # fmt: skip
def test_when_a_loader_comes(text, verdict, words):
    out = judged(text, "nftables", enabled=("networking",) if "networking" in text else ())
    assert (out.verdict, words in out.reason) == (verdict, True), out.reason
    window = "until then is open to everybody as soon as it listens: tcp/22 (sshd)"
    assert (window in out.reason) is (verdict is FAIL)
    assert "25" not in out.reason
    assert bool(out.fix) is (verdict is FAIL)


def test_what_systemd_itself_says_counts_before_files():
    shown = "Id=nftables.service\nLoadState=loaded\nBefore=network-pre.target\nWants=network-pre.target\nAfter=x\n"
    gone = "\nId=ufw.service\nLoadState=not-found\nBefore=\n"
    assert judged(unit("nftables"), "nftables", systemctl_show=shown + gone).verdict is PASS
    late = shown.replace("Before=network-pre.target", "Before=shutdown.target")
    assert judged(unit("nftables", *GOOD), "nftables", systemctl_show=late).verdict is FAIL
    none = {"systemctl-show": CommandRefused("h", "System has not been booted with systemd")}
    assert judged(unit("nftables", *GOOD), "nftables", faults=none, systemctl_show="").verdict is PASS


@pytest.mark.parametrize(
    ("line", "verdict", "words"),
    [
        ("line /etc/rc.local:3:iptables-restore </etc/iptables.rules", FAIL, "/etc/rc.local writes rules once the net"),
        ("line /etc/network/if-up.d/fw:3:nft -f /x", FAIL, "once the network is up (line 3)"),
        ("line /etc/network/if-pre-up.d/fw:3:nft -f /x", PASS, "before its interface comes up"),
        ("line /etc/network/interfaces:9:  pre-up nft -f /x", PASS, "before its interface comes up"),
        ("line /etc/network/interfaces:9:  post-up nft -f /x", FAIL, "/etc/network/interfaces writes rules once"),
        ("unread /root/x", UNSURE, "/root/x is run at boot and cannot be read"),
        ("", FAIL, "the tables stay empty"),
    ],
)
def test_places_that_no_distribution_made(line, verdict, words):
    out = judged(f"{line}\n")
    assert (out.verdict, words in out.reason) == (verdict, True), out.reason


def test_a_unit_of_its_own_has_its_place():
    text = "by fw.service /opt/fw:3:iptables-restore </etc/iptables.rules\n"
    assert judged(text + unit("fw", *GOOD)).verdict is PASS
    out = judged(text + unit("fw"))
    assert out.verdict is FAIL
    assert "`systemctl edit --full fw.service`: DefaultDependencies=no, Before=network-pre.target" in out.fix


def test_forwarding_is_told_where_it_is_on():
    assert "IPv4 is forwarded without a rule" in judged(unit("nftables"), "nftables", forwards=True).reason
    assert "forwarded" not in judged(unit("nftables"), "nftables").reason


@pytest.mark.parametrize(
    ("loaders", "conf", "verdict"),
    [
        (("nftables", "netfilter-persistent"), "flush ruleset\n", FAIL),
        (("nftables", "netfilter-persistent"), "# flush ruleset\n", PASS),
        (("firewalld", "netfilter-persistent"), "", FAIL),
        (("iptables", "ip6tables"), "", PASS),
    ],
)
def test_loaders_that_undo_one_another(loaders, conf, verdict):
    out = judged("".join(unit(name, *GOOD) for name in loaders), *loaders, **{"nftables.conf": conf})
    assert out.verdict is verdict, out.reason
    assert (out.cause == "loaders overwrite one another") is (verdict is FAIL)


def test_ufw_counts_where_it_is_enabled():
    text = unit("ufw", *GOOD)
    assert judged(text, "ufw", **{"ufw.conf": "ENABLED=yes\n"}).verdict is PASS
    assert judged(text, "ufw", **{"ufw.conf": "ENABLED=no\n"}).cause == "nothing survives a reboot"


@pytest.mark.parametrize("name", ["boot-units", "boot-links"])
def test_what_was_not_read_is_no_answer(name):
    with pytest.raises(CommandRefused):
        judged(unit("nftables", *GOOD), "nftables", faults={name: CommandRefused("h", "no")})
