"""What is asked of a host about its next boot: who loads rules, in what order, and what they would load."""

from __future__ import annotations

from fwproof.evidence.boot import LOADERS
from fwproof.evidence.boot_units import NETWORKS

_UNITS = " ".join((*LOADERS, *NETWORKS))
_WRITES = (
    "ip6?tables(-nft|-legacy)?(-restore|-apply)|ip6?tables(-nft|-legacy)? +-|nft +(-[a-z]+ +)*(-f|add|insert|flush)|"
    "ipset +(-[a-z]+ +)*(restore|create|add)"
)
_NOT_LOADERS = "docker|fail2ban|libvirtd|containerd|kubelet|k3s|crowdsec*|sshguard|ulogd2"
"""Units that write rules while they run, and are recognised by them."""

BOOT_UNITS = f"""\
folders='/etc/systemd/system /run/systemd/system /usr/local/lib/systemd/system /lib/systemd/system
/usr/lib/systemd/system'
show() {{ while IFS= read -r line; do printf 'unit %s: %s\\n' "$1" "$line"; done <"$1"; }}
fragment() {{ for folder in $folders; do [ -e "$folder/$1" ] && echo "$folder/$1" && break; done; }}
unit() {{
  file=$(fragment "$1")
  [ -n "$file" ] || return
  case $(readlink "$file") in /dev/null) echo "masked $1"; return ;; esac
  show "$file"
  for more in /etc/systemd/system/"$1".d/*.conf /run/systemd/system/"$1".d/*.conf /lib/systemd/system/"$1".d/*.conf; do
    [ -e "$more" ] && show "$more"
  done
}}
find_lines() {{
  for file; do
    [ -f "$file" ] || continue
    [ -r "$file" ] || {{ echo "unread $file"; continue; }}
    grep -IHnE '{_WRITES}' "$file" | grep -vE '^[^:]*:[0-9]+:[[:space:]]*#'
  done
}}
for name in {_UNITS}; do unit "$name.service"; done
for link in /etc/systemd/system/*.wants/*.service /etc/systemd/system/*.requires/*.service; do
  [ -e "$link" ] || continue
  name=${{link##*/}}
  [ "$(readlink "/etc/systemd/system/$name")" = /dev/null ] && continue
  echo "enabled $link"
  case " {_UNITS} " in *" ${{name%.service}} "*) continue ;; esac
  case ${{name%.service}} in {_NOT_LOADERS}) continue ;; esac
  programs=$(sed -n 's/^ExecStart[A-Za-z]*=[-@:+!]*//p' "$link" | tr -s ' ;' '\\n\\n' | grep '^/')
  found=$(find_lines "$link" $programs)
  [ -n "$found" ] || continue
  unit "$name"
  printf '%s\\n' "$found" | while IFS= read -r line; do printf 'by %s %s\\n' "$name" "$line"; done
done
places=
[ -x /etc/rc.local ] && places=/etc/rc.local
find_lines $places /etc/network/interfaces /etc/network/interfaces.d/* /etc/network/if-pre-up.d/* \\
  /etc/network/if-up.d/* /etc/NetworkManager/dispatcher.d/* /etc/NetworkManager/dispatcher.d/pre-up.d/* \\
  /etc/networkd-dispatcher/*.d/* /usr/share/netfilter-persistent/plugins.d/*ipset* |
  while IFS= read -r line; do printf 'line %s\\n' "$line"; done
grep -HnE '^[[:space:]]*@reboot.*({_WRITES})' /etc/crontab /etc/cron.d/* 2>/dev/null |
  while IFS= read -r line; do printf 'line %s\\n' "$line"; done
find /etc/ufw -maxdepth 1 -name '*.init' -perm /111 2>/dev/null |
  while IFS= read -r file; do printf 'line %s:1:is executable\\n' "$file"; done
:
"""
"""Prints unit files line by line, the links that enable units, and the lines elsewhere that write rules at boot. Where
systemd runs, :data:`SHOW` says how it has understood the units; this is what there is without it."""

SHOW = (
    "/usr/bin/systemctl", "show", "--no-pager", "-p", "Id,LoadState,Before,After,Wants,Requires,ExecStart",
    *(f"{name}.service" for name in (*LOADERS, *NETWORKS)),
)  # fmt: skip


def nft_boot(path: str) -> tuple[str, ...]:
    """Return the words that have the host's own nft evaluate a file of its, and list what comes of it.

    It does so in an empty network namespace that ends with the command (unshare(1)): includes, definitions and sets
    are read as at boot, and nothing outside changes; a script of nft can run no program (nft(8)). sudo joins arguments
    by spaces before it compares them, so whoever may run this may also run each beginning of the script: none does
    more than the whole. ``cd /`` as at boot: includes that begin with ``./`` must not be looked up where the caller is.
    """
    script = f"cd / && /usr/sbin/nft -f {path} && /usr/sbin/nft -j list ruleset"
    return ("/usr/bin/unshare", "--net", "/bin/sh", "-c", script)
