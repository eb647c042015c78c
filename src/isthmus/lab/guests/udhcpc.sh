#!/bin/busybox sh
# Called by udhcpc with what OVN answered: address, routes and MTU as they are on any machine of the network.
case "$1" in
deconfig) ip addr flush dev "$interface" scope global ;;
bound | renew)
    [ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
    ip addr add "$ip/$mask" dev "$interface" 2>/dev/null
    for gateway in $router; do ip route replace default via "$gateway" dev "$interface"; done
    set -- $staticroutes
    while [ $# -gt 1 ]; do
        if [ "$2" = 0.0.0.0 ]; then ip route replace "$1" dev "$interface"; else ip route replace "$1" via "$2"; fi
        shift 2
    done
    echo "isthmus guest: $interface $ip/$mask mtu $mtu" >/dev/console
    ;;
esac
