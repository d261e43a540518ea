#!/bin/sh
# docker-registry's tags/list knows no pages: `n` and `last` are ignored there, also malformed ones, while _catalog obeys `n`.
#
# The distribution specification has both lists answer at most `n` names, those after `last`. This registry sends every tag each
# time, without a Link. A client that walks pages by "last name seen" until a page is empty would never end, and one that takes a
# full page for "there is more" asks again in vain: what ends a walk must be an answer without a Link.
# `_catalog` refuses an `n` above its limit with 400 instead of answering fewer.
#
# Seen with docker-registry 2.8.2+ds1-1 (Debian 12).
# Guessed before: two tags and a Link for n=2, none for n=0, 400 for n=abc.
# Needs apt-get, dpkg-deb and python3; listens on loopback, on a port that the kernel chooses.
set -eu
VERSION=2.8.2+ds1-1
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$dir"' EXIT
cd "$dir"
apt-get download -qq "docker-registry=$VERSION"
dpkg-deb -x docker-registry_*.deb unpacked
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > registry.yml <<END
version: 0.1
storage: {filesystem: {rootdirectory: $dir/data}}
http: {addr: "127.0.0.1:$port"}
log: {level: error}
END
unpacked/usr/bin/docker-registry serve registry.yml > registry.log 2>&1 &
server=$!
PORT=$port python3 - <<'END'
import hashlib, http.client, json, os, time

def ask(method, path, body=None, kind="application/octet-stream"):
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ["PORT"]), timeout=10)
    connection.request(method, path, body, {"Content-Type": kind} if body else {})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()

for _ in range(100):
    try:
        ask("GET", "/v2/")
        break
    except ConnectionRefusedError:
        time.sleep(0.1)

config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{}}'
digest = "sha256:" + hashlib.sha256(config).hexdigest()
location = ask("POST", "/v2/a/b/blobs/uploads/")[1]["Location"].split(str(os.environ["PORT"]), 1)[1]
assert ask("PUT", f"{location}&digest={digest}", config)[0] == 201
kind = "application/vnd.oci.image.manifest.v1+json"
manifest = json.dumps({"schemaVersion": 2, "mediaType": kind, "layers": [],
                       "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": len(config), "digest": digest}})
tags = ["t1", "t2", "t3", "t4"]
for tag in tags:
    assert ask("PUT", f"/v2/a/b/manifests/{tag}", manifest.encode(), kind)[0] == 201

for query in ["", "?n=2", "?n=2&last=t2", "?n=0", "?n=abc"]:
    status, headers, body = ask("GET", f"/v2/a/b/tags/list{query}")
    print(f"docker-registry 2.8.2: tags/list{query}: {status}, {len(json.loads(body)['tags'])} tags, Link: {headers['Link']}")
    assert (status, sorted(json.loads(body)["tags"]), headers["Link"]) == (200, tags, None), "the behaviour has changed"

few, many = (ask("GET", f"/v2/_catalog?n={n}") for n in (0, 99999))
print("_catalog?n=0:", json.loads(few[2]), " _catalog?n=99999:", many[0])
assert (json.loads(few[2])["repositories"], many[0]) == ([], 400), "the behaviour has changed"
END
