"""Rule tables that several tests ask about."""

# ruff: noqa: E501 - rules stand on one line, as iptables-save prints them

ADDRESSES = (
    '[{"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},'
    ' {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.0.10", "prefixlen": 16},'
    ' {"family": "inet6", "local": "fd00:0:0:1::10", "prefixlen": 64}]}]'
)

PUBLISHED = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 11434 -m state --state NEW -m recent --set --name OLLAMA --mask 255.255.255.255 --rsource
-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 11434 -m state --state NEW -m recent --update --seconds 60 --hitcount 20 --name OLLAMA --mask 255.255.255.255 --rsource -j DROP
-A INPUT -s 10.0.0.100/32 -p tcp -m tcp --dport 8080 -j ACCEPT
-A OUTPUT -d 10.0.2.10/32 -p tcp -m tcp --dport 5432 -j ACCEPT
-A OUTPUT -j DROP
COMMIT
"""

REPAIRED = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT DROP [0:0]
:OLLAMA - [0:0]
:DROP_IN - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s 10.0.0.1/32 -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT
-A INPUT -s 10.0.0.0/16 -p tcp -m tcp --dport 11434 --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j OLLAMA
-A INPUT -j DROP_IN
-A OLLAMA -m recent --rcheck --seconds 60 --hitcount 20 --name OLLAMA --mask 255.255.255.255 --rsource -j DROP_IN
-A OLLAMA -m recent --set --name OLLAMA --mask 255.255.255.255 --rsource -j ACCEPT
-A OUTPUT -o lo -j ACCEPT
-A OUTPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DROP_IN -m limit --limit 10/sec --limit-burst 20 -j NFLOG --nflog-prefix "drop in: " --nflog-group 5
-A DROP_IN -j DROP
COMMIT
"""


def filter_table(*lines, default="ACCEPT", chains=()):
    """Return a filter table whose INPUT has these rules."""
    head = [
        f":INPUT {default} [0:0]",
        ":FORWARD ACCEPT [0:0]",
        ":OUTPUT ACCEPT [0:0]",
        *(f":{c} - [0:0]" for c in chains),
    ]
    return "\n".join(["*filter", *head, *lines, "COMMIT", ""])
