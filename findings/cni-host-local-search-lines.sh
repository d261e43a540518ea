#!/bin/sh
# host-local's `resolvConf`: several `search` lines are joined, and `domain` and `search` are both kept.
#
# resolv.conf(5) has the last `search` or `domain` line win, and repeated `options` of one name likewise. The plugin
# reads the same file otherwise: every search line is appended, `domain` stands beside it, each option is listed as often as
# it occurs. A pod whose resolv.conf is made of this answer looks names up in domains that the host itself does not use.
#
# Seen with containernetworking-plugins 1.1.1+ds1-3+b5 (Debian 12).
# Guessed before: search = ["d.test"], no domain, options = ["timeout:1", "ndots:3"].
# Needs apt-get, dpkg-deb and python3; changes nothing outside a temporary folder.
set -eu
VERSION=1.1.1+ds1-3+b5
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "containernetworking-plugins=$VERSION"
dpkg-deb -x containernetworking-plugins_*.deb unpacked
cat > resolv.conf <<'END'
domain a.test
search b.test c.test
search d.test
nameserver 192.0.2.1
options ndots:2 timeout:1
options ndots:3
END
cat > network.json <<END
{"cniVersion": "0.4.0", "name": "n", "type": "any",
 "ipam": {"type": "host-local", "dataDir": "$dir/data", "resolvConf": "$dir/resolv.conf",
          "ranges": [[{"subnet": "10.1.1.0/24"}]]}}
END
CNI_COMMAND=ADD CNI_CONTAINERID=c CNI_NETNS=/none CNI_IFNAME=eth0 CNI_PATH="$dir/unpacked/usr/lib/cni" \
    unpacked/usr/lib/cni/host-local < network.json > result.json
python3 - <<'END'
import json
dns = json.load(open("result.json"))["dns"]
print("host-local 1.1.1:", json.dumps(dns))
assert dns == {"nameservers": ["192.0.2.1"], "domain": "a.test", "search": ["b.test", "c.test", "d.test"],
               "options": ["ndots:2", "timeout:1", "ndots:3"]}, "the behaviour has changed"
END
