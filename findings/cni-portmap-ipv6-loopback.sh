#!/bin/sh
# portmap publishes a port on ::1 with exit code 0 and rules for it, and no packet ever arrives there.
#
# On 127.0.0.1 the same works (the plugin turns `route_localnet` on), and on the host's other IPv6 addresses too. The kernel lets
# no packet with the source ::1 off the loopback, and IPv6 has no such switch. A mapping without a host address reaches the
# container on every address but ::1. An engine has to refuse it itself.
#
# Seen with containernetworking-plugins 1.1.1+ds1-3+b5 (Debian 12), iptables 1.8.9, Linux 6.18.
# Guessed before: ::1 is reached as 127.0.0.1 is, or ADD fails.
# Needs root (namespaces of its own), unshare, ip, iptables, apt-get, dpkg-deb and python3.
set -eu

PACKAGE=containernetworking-plugins=1.1.1+ds1-3+b5

if [ "${1:-}" != inside ]; then
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    (cd "$scratch" && apt-get -q -o APT::Sandbox::User=root download "$PACKAGE" && dpkg-deb -x ./*.deb plugins)
    echo "plugins: $PACKAGE; $(iptables --version); Linux $(uname -r)"
    unshare --net --mount --pid --fork --kill-child --mount-proc sh "$0" inside "$scratch"
    exit
fi

scratch=$2
mount -t tmpfs none /run
ip link set lo up
ip netns add container
export CNI_PATH="$scratch/plugins/usr/lib/cni" CNI_COMMAND=ADD CNI_CONTAINERID=one CNI_NETNS=/run/netns/container CNI_IFNAME=eth0

result=$(tr -d '\n' <<END | "$CNI_PATH/bridge"
{"cniVersion":"0.4.0","name":"net","type":"bridge","bridge":"br0","isGateway":true,"ipMasq":true,"hairpinMode":true,
 "ipam":{"type":"host-local","dataDir":"$scratch/addresses","routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}],
         "ranges":[[{"subnet":"10.9.0.0/24"}],[{"subnet":"fd09::/64"}]]}}
END
)
"$CNI_PATH/portmap" >"$scratch/answer" <<END
{"cniVersion":"0.4.0","name":"net","type":"portmap","capabilities":{"portMappings":true},"prevResult":$result,
 "runtimeConfig":{"portMappings":[
    {"hostPort":8081,"containerPort":80,"protocol":"tcp","hostIP":"::1"},
    {"hostPort":8082,"containerPort":80,"protocol":"tcp","hostIP":"127.0.0.1"},
    {"hostPort":8083,"containerPort":80,"protocol":"tcp"}]}}
END
echo "portmap ADD: exit code 0"
echo "its rules for ::1:"
ip6tables -t nat -S | grep -- '-d ::1/128' | sed 's/^/    /'
ip6tables -t nat -S | grep -q -- '-d ::1/128 .*--dport 8081 -j DNAT --to-destination \[fd09::2\]:80'

ip netns exec container python3 -c '
import socket
server = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    client, _ = server.accept()
    client.sendall(b"reached")
    client.close()
' &

# reached ADDRESS PORT SECONDS: tried again and again for so long
reached() {
    python3 - "$1" "$2" "$3" <<'END'
import socket, sys, time
address, port, end = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    try:
        with socket.create_connection((address, port), timeout=2) as client:
            client.settimeout(10)
            if client.recv(7) == b"reached":
                sys.exit(0)
    except OSError:
        time.sleep(0.1)
sys.exit(1)
END
}

status=0
expect() {
    if reached "$2" "$3" "$4"; then now=reached; else now="not reached"; fi
    echo "$2 port $3: $now"
    [ "$now" = "$1" ] || { echo "    it was: $1"; status=1; }
}
expect reached 10.9.0.2 80 60
expect reached fd09::2 80 60
expect reached 127.0.0.1 8082 60
expect reached 10.9.0.1 8083 60
expect reached fd09::1 8083 60
expect "not reached" ::1 8081 10
expect "not reached" ::1 8083 10
exit $status
