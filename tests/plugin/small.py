"""A small policy, the inventory that it is about, and the ids of the checks that it means."""

INVENTORY = """\
zones: {near: [192.0.2.0/24]}
hosts:
  web:
    addresses: [192.0.2.1]
    ssh: {address: 127.0.0.1, port: 1, identity_file: key, known_hosts: known}
    access: root
    vantage: true
  db:
    addresses: [192.0.2.2]
    ssh: {address: 127.0.0.1, port: 1, identity_file: key, known_hosts: known}
    access: root
    vantage: true
"""
POLICY = """\
policy: small
hosts: [web]
services: {http: tcp/80}
inbound:
  default: deny
  allow:
    - {id: site, title: The site is open, service: http, from: near, rate: {limit: 5, per: 10s, by: source}}
essential: [loopback]
persistence: true
"""
IDS = [
    "site[web-ipv4]", "site[web-db-ipv4]", "site:rate[web-db-ipv4]", "inbound-default[web-ipv4]",
    "loopback[web-ipv4]", "persistence[web-ipv4]", "persistence:boot[web]",
    "inbound-default:no-ipv6[web]",
]  # fmt: skip
