"""What is asked of a host about that which decides beside and beneath the tables that its own programs show."""

LEGACY_NAMES = {"ip_tables_names": "/proc/net/ip_tables_names", "ip6_tables_names": "/proc/net/ip6_tables_names"}
"""Where the kernel names the legacy tables of this network namespace, root alone may ask (``xt_proto_init()`` in
x_tables.c). Tables of nf_tables, iptables-nft's among them, are not there; nor is the file before legacy code is."""

WAYS = frozenset({"ingress", "egress", "queue"})

FILTERS = """\
for tc in /usr/sbin/tc /sbin/tc /usr/bin/tc; do [ -x "$tc" ] && break; done
[ -x "$tc" ] || { echo '/usr/sbin/tc: No such file or directory' >&2; exit 1; }
filters() {
  way=$1
  shift
  said=$("$tc" -j filter show dev "$dev" "$@" 2>&1) || case $said in
    'Cannot find device'*) return ;;
    *) printf '%s\\n' "$said" >&2; exit 1 ;;
  esac
  printf '%s %s %s\\n' "$dev" "$way" "$(printf %s "$said" | tr '\\n' ' ')"
}
list=$("$tc" qdisc show) || exit 1
while read -r word kind handle mark dev place rest; do
  [ "$word $mark" = 'qdisc dev' ] || continue
  case "$kind $handle $place" in
    'noqueue '* | 'mq '* | 'pfifo_fast '*) ;;
    'clsact '*) filters ingress ingress; filters egress egress ;;
    'ingress '*) filters ingress ingress ;;
    *' 0: root') filters queue ;;
    *' 0: '*) ;;
    *) filters queue parent "$handle" ;;
  esac
done <<END
$list
END
"""
"""Prints the filters of traffic control that each device has, as ``DEVICE WAY JSON`` (tc(8)): those that see packets
before the tables (``ingress``) and after them (``egress``), and those of queues (``queue``). Any account may ask. A
device that has gone meanwhile carries nothing. Queues that take no filter, or have no handle to give them one, are
passed over."""
