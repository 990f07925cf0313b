"""The options of every match module and target of ``iptables-extensions(8)``, and how many words follow each.

One word follows an option, unless a number behind a colon says otherwise; ``?`` stands for one or none. An option that
stands here is read with its words whatever they look like, so that none of them is taken for the next option.
"""

from __future__ import annotations

from collections.abc import Mapping

from fwproof.flow import ICMP, ICMPV6, PROTOCOLS, TCP, UDP

MAYBE = -1
"""The number of words of an option whose one word may be left out."""

Options = Mapping[str, int]
"""Options to how many words follow them."""


def _read(text: str) -> Options:
    found = {}
    for word in text.split():
        name, _, count = word.partition(":")
        found[name] = MAYBE if count == "?" else int(count or "1")
    return found


_PORTS = "--sport --source-port --dport --destination-port"
_COMPARED = "{0}-eq {0}-gt {0}-lt"
_MARKS = "--set-xmark --set-mark --and-mark --or-mark --xor-mark"

MODULES: Mapping[str, Options] = {
    name: _read(options)
    for name, options in {
        "addrtype": "--src-type --dst-type --limit-iface-in:0 --limit-iface-out:0",
        "ah": "--ahspi --ahlen --ahres:0",
        "bpf": "--bytecode --object-pinned",
        "cgroup": "--path --cgroup",
        "cluster": "--cluster-total-nodes --cluster-local-node --cluster-local-nodemask --cluster-hash-seed",
        "comment": "--comment",
        "connbytes": "--connbytes --connbytes-dir --connbytes-mode",
        "connlabel": "--label --set:0",
        "connlimit": "--connlimit-upto --connlimit-above --connlimit-mask --connlimit-saddr:0 --connlimit-daddr:0",
        "connmark": "--mark",
        "conntrack": "--ctstate --ctdir --ctstatus --ctproto --ctorigsrc --ctorigdst --ctreplsrc --ctrepldst "
                     "--ctorigsrcport --ctorigdstport --ctreplsrcport --ctrepldstport --ctexpire",
        "cpu": "--cpu",
        "dccp": f"{_PORTS} --dccp-types --dccp-option",
        "devgroup": "--src-group --dst-group",
        "dscp": "--dscp --dscp-class",
        "dst": "--dst-len --dst-opts --dst-not-strict:0",
        "ecn": "--ecn-tcp-cwr:0 --ecn-tcp-ece:0 --ecn-ip-ect",
        "esp": "--espspi",
        "eui64": "",
        "frag": "--fragid --fraglen --fragres:0 --fragfirst:0 --fragmore:0 --fraglast:0",
        "hashlimit": "--hashlimit-upto --hashlimit --hashlimit-above --hashlimit-burst --hashlimit-mode "
                     "--hashlimit-name --hashlimit-srcmask --hashlimit-dstmask --hashlimit-htable-size "
                     "--hashlimit-htable-max --hashlimit-htable-expire --hashlimit-htable-gcinterval "
                     "--hashlimit-rate-match:0 --hashlimit-rate-interval",
        "hbh": "--hbh-len --hbh-opts --hbh-not-strict:0",
        "helper": "--helper",
        "hl": f"{_COMPARED.format('--hl')} --hl",
        "icmp": "--icmp-type",
        "icmp6": "--icmpv6-type",
        "ipcomp": "--ipcompspi --compres:0",
        "iprange": "--src-range --dst-range",
        "ipv6header": "--header --soft:0",
        "ipvs": "--ipvs:0 --vproto --vaddr --vport --vdir --vmethod --vportctl",
        "l2tp": "--tid --sid --pversion --type",
        "length": "--length",
        "limit": "--limit --limit-burst",
        "mac": "--mac-source",
        "mark": "--mark",
        "mh": "--mh-type",
        "multiport": "--sports --source-ports --dports --destination-ports --ports",
        "nfacct": "--nfacct-name",
        "osf": "--genre --ttl --log",
        "owner": "--uid-owner --gid-owner --suppl-groups:0 --socket-exists:0",
        "physdev": "--physdev-in --physdev-out --physdev-is-in:0 --physdev-is-out:0 --physdev-is-bridged:0",
        "pkttype": "--pkt-type",
        "policy": "--dir --pol --strict:0 --reqid --spi --proto --mode --tunnel-src --tunnel-dst --next:0",
        "quota": "--quota",
        "rateest": "--rateest --rateest1 --rateest2 --rateest-bps:? --rateest-pps:? --rateest-bps1:? --rateest-bps2:? "
                   "--rateest-pps1:? --rateest-pps2:? --rateest-delta:0 --rateest-lt:0 --rateest-gt:0 --rateest-eq:0",
        "realm": "--realm",
        "recent": "--set:0 --rcheck:0 --update:0 --remove:0 --seconds --hitcount --name --mask --rsource:0 --rdest:0 "
                  "--rttl:0 --reap:0",
        "rpfilter": "--loose:0 --validmark:0 --accept-local:0 --invert:0",
        "rt": "--rt-type --rt-segsleft --rt-len --rt-0-res:0 --rt-0-addrs --rt-0-not-strict:0",
        "sctp": f"{_PORTS} --chunk-types:2",
        "set": "--match-set:2 --set:2 --return-nomatch:0 --update-counters:0 --update-subcounters:0 "
               f"{_COMPARED.format('--packets')} {_COMPARED.format('--bytes')}",
        "socket": "--transparent:0 --nowildcard:0 --restore-skmark:0",
        "srh": f"--srh-next-hdr {_COMPARED.format('--srh-hdr-len')} {_COMPARED.format('--srh-segs-left')} "
               f"{_COMPARED.format('--srh-last-entry')} --srh-tag --srh-psid --srh-nsid --srh-lsid",
        "state": "--state",
        "statistic": "--mode --probability --every --packet",
        "string": "--string --hex-string --algo --from --to --icase:0",
        "tcp": f"{_PORTS} --tcp-flags:2 --syn:0 --tcp-option",
        "tcpmss": "--mss",
        "time": "--datestart --datestop --timestart --timestop --monthdays --weekdays --contiguous:0 --kerneltz:0 "
                "--utc:0 --localtz:0",
        "tos": "--tos",
        "ttl": f"{_COMPARED.format('--ttl')} --ttl",
        "u32": "--u32",
        "udp": _PORTS,
        "udplite": _PORTS,
    }.items()
}  # fmt: skip
"""The match modules, each with its options."""

TARGETS: Mapping[str, Options] = {
    name: _read(options)
    for name, options in {
        "ACCEPT": "", "DROP": "", "RETURN": "", "NOTRACK": "", "QUEUE": "", "TRACE": "", "MIRROR": "",
        "AUDIT": "--type",
        "CHECKSUM": "--checksum-fill:0",
        "CLASSIFY": "--set-class",
        "CLUSTERIP": "--new:0 --hashmode --clustermac --total-nodes --local-node --hash-init",
        "CONNMARK": f"{_MARKS} --save-mark:0 --restore-mark:0 --nfmask --ctmask --mask --left-shift-mark "
                    "--right-shift-mark",
        "CONNSECMARK": "--save:0 --restore:0",
        "CT": "--notrack:0 --helper --ctevents --expevents --zone --zone-orig --zone-reply --timeout",
        "DNAT": "--to-destination --random:0 --persistent:0",
        "DNPT": "--src-pfx --dst-pfx",
        "DSCP": "--set-dscp --set-dscp-class",
        "ECN": "--ecn-tcp-remove:0 --ecn-tcp-cwr --ecn-tcp-ece --ecn-ip-ect",
        "HL": "--hl-set --hl-dec --hl-inc",
        "HMARK": "--hmark-tuple --hmark-mod --hmark-offset --hmark-src-prefix --hmark-dst-prefix --hmark-sport-mask "
                 "--hmark-dport-mask --hmark-spi-mask --hmark-sport --hmark-dport --hmark-spi --hmark-proto-mask "
                 "--hmark-rnd",
        "IDLETIMER": "--timeout --label --alarm:0",
        "LED": "--led-trigger-id --led-delay --led-always-blink:0",
        "LOG": "--log-prefix --log-level --log-tcp-sequence:0 --log-tcp-options:0 --log-ip-options:0 --log-uid:0 "
               "--log-macdecode:0",
        "MARK": _MARKS,
        "MASQUERADE": "--to-ports --random:0 --random-fully:0",
        "NETMAP": "--to",
        "NFLOG": "--nflog-prefix --nflog-group --nflog-size --nflog-range --nflog-threshold",
        "NFQUEUE": "--queue-num --queue-balance --queue-bypass:0 --queue-cpu-fanout:0",
        "RATEEST": "--rateest-name --rateest-interval --rateest-ewmalog",
        "REDIRECT": "--to-ports --random:0",
        "REJECT": "--reject-with",
        "SECMARK": "--selctx",
        "SET": "--add-set:2 --del-set:2 --map-set:2 --map-mark:0 --map-prio:0 --map-queue:0 --timeout --exist:0",
        "SNAT": "--to-source --random:0 --random-fully:0 --persistent:0",
        "SNPT": "--src-pfx --dst-pfx",
        "SYNPROXY": "--sack-perm:0 --timestamp:0 --ecn:0 --mss --wscale",
        "TCPMSS": "--set-mss --clamp-mss-to-pmtu:0",
        "TCPOPTSTRIP": "--strip-options",
        "TEE": "--gateway --oif",
        "TOS": "--set-tos --and-tos --or-tos --xor-tos",
        "TPROXY": "--on-port --on-ip --tproxy-mark",
        "TTL": "--ttl-set --ttl-dec --ttl-inc",
        "ULOG": "--ulog-nlgroup --ulog-prefix --ulog-cprange --ulog-qthreshold",
    }.items()
}  # fmt: skip
"""The targets, each with its options."""

ALIASES = {"icmpv6": "icmp6", "ipv6-icmp": "icmp6", "ipv6-mh": "mh", "mobility-header": "mh"}
"""Other names of modules (libxtables, xtables_find_match)."""

IMPLIED = {
    TCP: "tcp", UDP: "udp", PROTOCOLS["udplite"]: "udplite", PROTOCOLS["sctp"]: "sctp", PROTOCOLS["dccp"]: "dccp",
    ICMP: "icmp", ICMPV6: "icmp6", PROTOCOLS["esp"]: "esp", PROTOCOLS["ah"]: "ah", PROTOCOLS["ipcomp"]: "ipcomp",
    PROTOCOLS["mh"]: "mh",
}  # fmt: skip
"""The module that ``-p`` makes available without ``-m``."""
