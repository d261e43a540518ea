#!/bin/sh
# loopback answers in CNI 0.3.1 and 0.4.0 without the family of its addresses; what follows it in a chain makes "" of it.
#
# Results of these versions have `version` ("4" or "6") in each entry of `ips`, by the specification a required
# member. The loopback plugin leaves it out in every version, and tuning, given that as its prevResult, passes on
# `"version": ""`. A reader of results must tell the family by the address, and take both the missing and the empty member.
#
# Seen with containernetworking-plugins 1.1.1+ds1-3+b5 (Debian 12).
# Guessed before: "4" and "6" from both, as bridge with host-local has them.
# Needs root (a network namespace of its own), unshare, ip, apt-get, dpkg-deb and python3.
set -eu
VERSION=1.1.1+ds1-3+b5
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "containernetworking-plugins=$VERSION"
dpkg-deb -x containernetworking-plugins_*.deb unpacked
cat > add.py <<'END'
import json, os, subprocess

PLUGINS = os.path.abspath("unpacked/usr/lib/cni")

def add(plugin, config):
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_NETNS": "/proc/self/ns/net", "CNI_IFNAME": "lo",
           "CNI_PATH": PLUGINS, "PATH": os.environ["PATH"]}
    answer = subprocess.run([f"{PLUGINS}/{plugin}"], input=json.dumps(config).encode(), env=env, capture_output=True, check=True)
    return json.loads(answer.stdout)

for version in ["0.3.1", "0.4.0"]:
    base = {"cniVersion": version, "name": "n"}
    first = add("loopback", base | {"type": "loopback"})
    second = add("tuning", base | {"type": "tuning", "prevResult": first})
    families = [[ip.get("version", "missing") for ip in result["ips"]] for result in (first, second)]
    print(version, "loopback:", families[0], "then tuning:", families[1])
    assert [ip["address"] for ip in second["ips"]] == ["127.0.0.1/8", "::1/128"]
    assert families == [["missing", "missing"], ["", ""]], "the behaviour has changed"
END
unshare --net python3 add.py
