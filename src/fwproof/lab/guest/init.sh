#!/bin/sh
# Process 1 of a lab host. It does what a server's init does, in the same order: rules before the network,
# the network before the services, and at last what the topology adds.
exec </dev/null >>/var/log/lab-boot.log 2>&1
echo "boot $(date +%s.%N)"

# systemd is not in here; the links by which a package is enabled are, and the order that its unit file asks for.
wants=/etc/systemd/system/multi-user.target.wants
enabled() { [ -L "$wants/$1.service" ]; }
file_of() { for folder in /etc /lib; do ls "$folder/systemd/system/$1.service" 2>/dev/null && return; done; }
early() {
    cat "$(file_of "$1")" "/etc/systemd/system/$1.service.d/"*.conf 2>/dev/null |
        grep -q '^Before=.*network-pre\.target'
}
start() {
    echo "start $1 $(date +%s.%N)"
    case $1 in
    netfilter-persistent) netfilter-persistent start ;;
    ufw) /lib/ufw/ufw-init start quiet ;;
    firewalld)
        install -d /run/dbus
        dbus-daemon --system
        firewalld --nopid
        tries=100
        until firewall-cmd --state || [ "$tries" = 0 ]; do tries=$((tries - 1)); sleep 0.1; done
        ;;
    *) sed -n 's/^ExecStart\(Pre\)\?=[-@:+!]*//p' "$(file_of "$1")" | sh ;;
    esac
}
loaders="netfilter-persistent nftables ufw firewalld"
for link in "$wants"/*.service; do
    unit=${link##*/} unit=${unit%.service}
    case " $loaders ulogd2 fail2ban * " in *" $unit "*) ;; *) loaders="$loaders $unit" ;; esac
done

# What may not be written from within a namespace (fs.*) is refused, and said in the log.
if [ -e /etc/rcS.d/S01procps ]; then sysctl -q --system; fi
ip link set lo up
for unit in $loaders; do if enabled "$unit" && early "$unit"; then start "$unit"; fi; done
ip -batch /etc/lab/network

# OpenSSH 9.8 and later shut out a client that failed a few times; an audit that tries a wrong key is such a client.
penalties=
if /usr/sbin/sshd -t -o PerSourcePenalties=no 2>/dev/null; then penalties="-o PerSourcePenalties=no"; fi
/usr/sbin/sshd -E /var/log/sshd.log $penalties
if [ -x /usr/local/sbin/lab-call-home ]; then /usr/local/sbin/lab-call-home >/dev/null 2>>/var/log/lab-call-home.log & fi

if enabled ulogd2; then
    install -d -m 0750 -o root -g adm /var/log/ulogd
    [ -e /var/log/ulogd/drops.log ] || install -m 0640 -o root -g adm /dev/null /var/log/ulogd/drops.log
    ulogd -d
fi
if [ -s /etc/lab/services ]; then python3 /usr/local/sbin/lab-service $(cat /etc/lab/services) 2>>/var/log/lab-service.log; fi
# What does not ask to come before the network may come as late as this: nothing else holds services back for it.
for unit in $loaders; do if enabled "$unit" && ! early "$unit"; then start "$unit"; fi; done
if [ -x /etc/rc.local ]; then /etc/rc.local; fi
if enabled fail2ban; then
    # Debian's own jail for sshd needs its log file, or the whole server refuses to start.
    [ -e /var/log/auth.log ] || install -m 0640 -o root -g adm /dev/null /var/log/auth.log
    fail2ban-client start
fi

if [ ! -e /var/lib/lab-first-boot ]; then
    if [ -s /etc/lab/first-boot ]; then sh -ex /etc/lab/first-boot || touch /run/lab-failed; fi
    touch /var/lib/lab-first-boot
fi
if [ -s /etc/lab/rc ]; then sh -ex /etc/lab/rc || touch /run/lab-failed; fi
touch /run/lab-ready
echo "ready $(date +%s.%N)"

# Orphans of the host end up here; waiting reaps them.
while :; do sleep 1000000 & wait; done
