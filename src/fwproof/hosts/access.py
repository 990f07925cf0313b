"""What the auditor runs on a host: every command, word for word, and the sudoers file that allows no more.

The words are fixed because an open argument list is a way to root: ``sudo iptables-save`` without arguments
in sudoers also allows ``-f FILE``, which writes any file as root (sudoers(5): a command without arguments
"may be run with any arguments"; the empty string ``""`` means none). Nothing here changes a host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fwproof.errors import UsageError
from fwproof.evidence.boot import LOADERS, NFT_FILES, RULE_FILES
from fwproof.hosts.boot_commands import BOOT_UNITS, SHOW, nft_boot
from fwproof.hosts.filter_commands import FILTERS, LEGACY_NAMES
from fwproof.inventory import Access, Host

SUDO = ("/usr/bin/sudo", "-n")
AGENT_PATH = "/usr/local/sbin/fwproof-agent"
SUDOERS_PATH = "/etc/sudoers.d/fwproof"

LOG_LINES = "2000"
"""How many of the newest lines of a log are read: a day of a busy jail, and well below the output limit."""

_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")  # useradd(8), "CAVEATS"
_JAIL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_AGENT = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+")

_LOADERS = "|".join(LOADERS)
_BANNERS = "fail2ban|sshguard|crowdsec|crowdsec-firewall-bouncer"
"""Services that ban addresses by what logs say."""
_BOOT_LINKS = f"""\
for link in /etc/systemd/system/*.wants/*.service /etc/systemd/system/*.requires/*.service; do
  [ -e "$link" ] || continue
  unit=${{link##*/}}
  case ${{unit%.service}} in {_LOADERS}) ;; *) continue ;; esac
  [ "$(readlink "/etc/systemd/system/$unit")" = /dev/null ] || printf '%s\\n' "$link"
done
for link in /etc/rc[S2345].d/S[0-9][0-9]*; do
  [ -e "$link" ] || continue
  unit=${{link##*/S??}}
  case $unit in {_LOADERS}) ;; *) continue ;; esac
  native=
  for folder in /etc/systemd/system /lib/systemd/system /usr/lib/systemd/system; do
    [ -e "$folder/$unit.service" ] && native=yes
  done
  if [ -z "$native" ] || [ -e /etc/inittab ]; then printf '%s\\n' "$link"; fi
done
"""
"""Lists the links that start a rule loader at boot. A link to nothing starts nothing; a masked unit neither;
where there is a native unit, systemd passes over the start links of System V init (systemd-sysv-generator(8)),
which count all the same on a host that boots with System V init and so has an inittab(5)."""

_IDENTITY = """\
[ -r /etc/machine-id ] && printf 'machine-id %s\\n' "$(sha256sum < /etc/machine-id | cut -d' ' -f1)"
for program in /usr/sbin/iptables /usr/sbin/iptables-legacy /usr/sbin/nft /usr/sbin/ufw /usr/bin/fail2ban-client; do
  [ -x "$program" ] && printf '%s %s\\n' "${program##*/}" "$("$program" --version 2>/dev/null | head -n 1)"
done
:
"""
"""Tells which machine this is, by a hash of machine-id(5), which is itself a secret, and which programs it has."""

_SYSCTLS = (
    "ip_forward", "forwarding", "rp_filter", "accept_redirects", "accept_source_route", "send_redirects", "accept_ra",
    "disable_ipv6", "route_localnet", "log_martians", "tcp_syncookies", "ip_local_port_range", "bindv6only",
    "icmp_echo_ignore_all", "nf_conntrack_max", "nf_conntrack_count", "nf_conntrack_tcp_loose", "nf_log_all_netns",
    "accept_local", "bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "secure_redirects", "shared_media",
    "icmp_echo_ignore_broadcasts", "icmp_ignore_bogus_error_responses", "nf_conntrack_buckets", "nf_conntrack_helper",
    "force_forwarding", "seg6_enabled", "rpl_seg_enabled",
)  # fmt: skip


SYSCTL_FILES = """\
loader=nobody
unit=/etc/systemd/system/systemd-sysctl.service
if [ -e /etc/inittab ]; then
  for link in /etc/rcS.d/S[0-9][0-9]procps; do [ -e "$link" ] && loader=procps; done
elif [ -e /usr/lib/systemd/systemd-sysctl ] || [ -e /lib/systemd/systemd-sysctl ]; then
  [ "$(readlink "$unit")" = /dev/null ] || loader=systemd
else
  for link in /etc/rcS.d/S[0-9][0-9]procps; do [ -e "$link" ] && loader=procps; done
fi
printf 'loader %s\\n' "$loader"
for file in /etc/sysctl.conf /etc/ufw/sysctl.conf /etc/sysctl.d/*.conf /run/sysctl.d/*.conf \\
    /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf /lib/sysctl.d/*.conf; do
  [ -e "$file" ] || continue
  if [ -r "$file" ]; then printf 'file %s\\n' "$file"; sed 's/^/| /' "$file"; echo
  else printf 'unreadable %s\\n' "$file"; fi
done
"""
"""Says who writes sysctls at boot, and prints the files that he reads, each line of them behind ``| ``: systemd where
it is, else the start link of procps, which is all there is on a host that boots with System V init (inittab(5))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command: the name of its capture, its words with absolute paths, and whether root must run it.

    ``shape`` names what its output looks like (:mod:`fwproof.hosts.shape`), so that rubbish is noticed.
    """

    name: str
    words: tuple[str, ...]
    root: bool = False
    shape: str = "text"

    @property
    def program(self) -> str:
        """The program that does the work (not sudo)."""
        return self.words[0]

    def argv(self, user: str) -> tuple[str, ...]:
        """Return the words as ``user`` has to type them."""
        return (*SUDO, *self.words) if self.root and user != "root" else self.words


def _save(name: str) -> Command:
    return Command(name=name, words=(f"/usr/sbin/{name}", "-c"), root=True, shape="iptables-save")


def _firewalld(name: str, *words: str) -> Command:
    return Command(name=f"firewalld-{name}", words=("/usr/bin/firewall-cmd", *words), root=True)


_FIREWALLD = (
    _firewalld("zones", "--list-all-zones"),
    _firewalld("zones-permanent", "--permanent", "--list-all-zones"),
    _firewalld("direct", "--direct", "--get-all-rules"),
    _firewalld("direct-permanent", "--permanent", "--direct", "--get-all-rules"),
)
"""What runs and what is permanent, as firewalld itself tells it (firewall-cmd(1)); all of them only ask."""

ROOT_COMMANDS: tuple[Command, ...] = (
    *(_save(name) for name in ("iptables-save", "ip6tables-save", "iptables-legacy-save", "ip6tables-legacy-save")),
    Command(name="nft", words=("/usr/sbin/nft", "-j", "list", "ruleset"), root=True, shape="nft-json"),
    Command(name="ipset-save", words=("/usr/sbin/ipset", "save"), root=True, shape="ipset-save"),
    *(Command(name=name, words=("/usr/bin/cat", path), root=True) for name, path in LEGACY_NAMES.items()),
    Command(name="rules.v4", words=("/usr/bin/cat", "/etc/iptables/rules.v4"), root=True),
    Command(name="rules.v6", words=("/usr/bin/cat", "/etc/iptables/rules.v6"), root=True),
    Command(name="nftables.conf", words=("/usr/bin/cat", "/etc/nftables.conf"), root=True),
    Command(name="ufw-rules", words=("/usr/bin/cat", "/etc/ufw/user.rules"), root=True),
    Command(name="ufw-rules6", words=("/usr/bin/cat", "/etc/ufw/user6.rules"), root=True),
    *(Command(name=name, words=("/usr/bin/cat", path), root=True) for name, path in RULE_FILES.items()),
    *(Command(name=name, words=nft_boot(path), root=True, shape="nft-json") for name, path in NFT_FILES.items()),
    *_FIREWALLD,
    Command(name="fail2ban-status", words=("/usr/bin/fail2ban-client", "status"), root=True),
    Command(name="fail2ban-banned", words=("/usr/bin/fail2ban-client", "banned"), root=True),
    Command(name="fail2ban-dump", words=("/usr/bin/fail2ban-client", "-d"), root=True),
    Command(name="fail2ban-log", words=("/usr/bin/tail", "-n", LOG_LINES, "/var/log/fail2ban.log"), root=True),
    Command(name="socket-owners", words=("/usr/bin/ss", "-Hltunp"), root=True),
)
"""What needs root on every host, whatever its policy."""

PLAIN_COMMANDS: tuple[Command, ...] = (
    Command(name="uname", words=("/usr/bin/uname", "-a"), shape="uname"),
    Command(name="identity", words=("/bin/sh", "-c", _IDENTITY)),
    Command(name="os-release", words=("/usr/bin/cat", "/etc/os-release")),
    Command(name="ip-addr", words=("/usr/sbin/ip", "-j", "addr"), shape="json-list"),
    Command(name="ip-route", words=("/usr/sbin/ip", "-j", "-4", "route"), shape="json-list"),
    Command(name="ip6-route", words=("/usr/sbin/ip", "-j", "-6", "route"), shape="json-list"),
    Command(name="ip-rule", words=("/usr/sbin/ip", "-j", "-4", "rule"), shape="json-list"),
    Command(name="ip6-rule", words=("/usr/sbin/ip", "-j", "-6", "rule"), shape="json-list"),
    Command(name="ip-neigh", words=("/usr/sbin/ip", "-j", "neigh"), shape="json-list"),
    Command(
        name="sysctl", words=("/usr/bin/grep", "-rs", *(f"--include={key}" for key in _SYSCTLS), "", "/proc/sys/net"),
    ),
    Command(name="traffic-control", words=("/bin/sh", "-c", FILTERS), shape="traffic-control"),
    Command(name="sockets", words=("/usr/bin/ss", "-Hltun")),
    Command(name="python", words=("/usr/bin/python3", "--version")),
    Command(name="boot-links", words=("/bin/sh", "-c", _BOOT_LINKS)),
    Command(name="boot-units", words=("/bin/sh", "-c", BOOT_UNITS)),
    Command(name="systemctl-show", words=SHOW),
    Command(name="ban-links", words=("/bin/sh", "-c", _BOOT_LINKS.replace(_LOADERS, _BANNERS))),
    Command(name="processes", words=("/usr/bin/ps", "-e", "-o", "comm=")),
    Command(name="sysctl-files", words=("/bin/sh", "-c", SYSCTL_FILES)),
    Command(name="ufw.conf", words=("/usr/bin/cat", "/etc/ufw/ufw.conf")),
    Command(name="ufw-defaults", words=("/usr/bin/cat", "/etc/default/ufw")),
)  # fmt: skip
"""What any account of the host may run."""


def check_jail(jail: str) -> str:
    """Return a fail2ban jail's name; UsageError when it could be read as an option or by sudoers."""
    if not _JAIL.fullmatch(jail):
        raise UsageError(f"{jail!r} is no jail name: letters, digits, - and _ only, not starting with -")
    return jail


def jail_commands(jails: Iterable[str]) -> tuple[Command, ...]:
    """Return what is asked of fail2ban about each jail that a policy names; raises UsageError."""
    client = "/usr/bin/fail2ban-client"
    return tuple(
        command
        for jail in dict.fromkeys(map(check_jail, jails))
        for command in (
            Command(name=f"fail2ban-status-{jail}", words=(client, "status", jail), root=True),
            Command(name=f"fail2ban-failregex-{jail}", words=(client, "get", jail, "failregex"), root=True),
        )
    )


def commands(host: Host, jails: Iterable[str] = ()) -> tuple[Command, ...]:
    """Return everything that is read of a host, in order; the drop log only where the inventory names one."""
    log: tuple[Command, ...] = ()
    if host.drop_log is not None:
        log = (Command(name="drop-log", words=("/usr/bin/tail", "-n", LOG_LINES, "--", host.drop_log)),)
    return (*PLAIN_COMMANDS, *log, *ROOT_COMMANDS, *jail_commands(jails))


_LOG_LISTING = """\
stat -L -c '%s %Y %n' -- "$1"
for file in "$1".* "$1"-*; do [ -f "$file" ] && stat -L -c '%s %Y %n' -- "$file"; done
"""
_LOG_PART = """\
[ -r "$1" ] || { echo "$1: there is no such file, or no leave to read it" >&2; exit 1; }
case $1 in
  *.gz) gzip -dc -- "$1" | wc -c; gzip -dc -- "$1" | tail -c "$2" ;;
  *) stat -L -c %s -- "$1"; tail -c "$2" -- "$1" ;;
esac
"""
"""Prints how long a file is when unpacked, and then its end."""


def log_listing(path: str) -> tuple[str, ...]:
    """Return what lists a log and the files that logrotate made of it: size, time of the last write, name."""
    return ("/bin/sh", "-c", _LOG_LISTING, "sh", path)


def log_part(path: str, most: int) -> tuple[str, ...]:
    """Return what prints the size of a file of a log and its newest ``most`` bytes."""
    return ("/bin/sh", "-c", _LOG_PART, "sh", path, str(most))


def sudoers(
    user: str, access: Access, jails: Sequence[str] = (), agent_path: str = AGENT_PATH, *, trace: bool = False
) -> str:
    """Return the sudoers file of an access tier, for ``/etc/sudoers.d/fwproof`` (root:root, 0440).

    ``read``: the fixed commands. ``observe``: these and the agent, without an argument, or, with ``trace``, also with
    the one that lets it trace rules. ``root``: all.
    Raises UsageError for a user, jail or path that sudoers(5) could read as something else.
    """
    if not _USER.fullmatch(user):
        raise UsageError(f"{user!r} is no account name: lower-case letters, digits, - and _, at most 32")
    if not _AGENT.fullmatch(agent_path):
        raise UsageError(f"{agent_path!r} is no plain absolute path for the agent")
    head = f"# What fwproof may run on this host as {user}, tier {access.value}. Check with: visudo -cf FILE\n"
    if access is Access.ROOT:
        return f"{head}{user} ALL=(root) NOPASSWD: ALL\n"
    allowed = [" ".join(command.words) for command in (*ROOT_COMMANDS, *jail_commands(jails))]
    if access is Access.OBSERVE:
        allowed += [f'{agent_path} ""', *([f"{agent_path} --trace"] if trace else [])]
    listed = ", \\\n    ".join(allowed)
    # env_reset: fail2ban-client is a Python script, and PYTHONPATH must not decide what it imports
    return (
        f"{head}Cmnd_Alias FWPROOF = \\\n    {listed}\nDefaults:{user} env_reset\n{user} ALL=(root) NOPASSWD: FWPROOF\n"
    )
