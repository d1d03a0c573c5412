#!/usr/bin/env bash
# A real S3 service on this machine: Ceph's radosgw with one monitor and one OSD, from packages, on
# loopback, all of it in one directory. No systemd; what it started it stops by process id.
#
#   cluster/s3-here.sh start DIR    starts it (7 s); DIR/env then says where it is and who may enter
#   cluster/s3-here.sh stop DIR     stops it; the data stays in DIR and `start` finds it again
#   cluster/s3-here.sh osd DIR      starts the OSD again after it was killed
#   cluster/s3-here.sh rgw DIR      starts the S3 service again after it was killed
#
#   set -a; . DIR/env; set +a       AWS_ENDPOINT_URL and the keys, made up at the first start
#
# Needs root and: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common
# For trials and tests: one copy of everything, keys in a plain file (mode 600).
set -euo pipefail

usage() { sed -n '5,8s/^#   //p' "$0" >&2; exit 2; }
[ $# -eq 2 ] || usage
verb=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
export CEPH_CONF="$dir/ceph.conf" CEPH_ARGS=""
rgw_id=client.rgw.here

# A killed process stays a zombie until somebody asks for its exit; that is not alive.
alive() {
    [ -s "$dir/run/$1.pid" ] &&
        grep -q "^State:[[:space:]]*[^ZX]" "/proc/$(cat "$dir/run/$1.pid")/status" 2>/dev/null
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            echo "s3-here: $what did not come up; the logs are in $dir/log" >&2
            exit 1
        fi
        sleep 0.05
    done
}

free_ports() {
    python3 - "$1" <<'PY'
import socket, sys
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in sockets))
PY
}

word() { head -c 64 /dev/urandom | base64 -w0 | tr -dc 'A-Za-z0-9' | head -c "$1"; }

write_configuration() {
    local mon_port rgw_port
    read -r mon_port rgw_port < <(free_ports 2)
    umask 077
    mkdir -p "$dir/run" "$dir/log" "$dir/mon" "$dir/osd" "$dir/rgw"
    cat >"$CEPH_CONF" <<CONF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon host = v2:127.0.0.1:$mon_port
public addr = 127.0.0.1
cluster addr = 127.0.0.1
# without cephx the OSD crashes
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
keyring = $dir/keyring
run dir = $dir/run
admin socket = $dir/run/\$name.asok
crash dir = $dir/log
log file = $dir/log/\$name.log
log to stderr = false
mon cluster log to file = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
paxos propose interval = 0.05
mon data avail crit = 1
mon data avail warn = 1

[mon.a]
mon data = $dir/mon

[osd.0]
osd data = $dir/osd
osd objectstore = ${S3_HERE_STORE:-bluestore}
bluestore block size = ${S3_HERE_BYTES:-8589934592}
bluestore block create = true
osd memory target = 939524096

[$rgw_id]
keyring = $dir/keyring.rgw
rgw data = $dir/rgw
rgw frontends = beast endpoint=127.0.0.1:$rgw_port tcp_nodelay=1
rgw thread pool size = 32
rgw enable usage log = false
CONF
    cat >"$dir/env" <<ENV
AWS_ENDPOINT_URL=http://127.0.0.1:$rgw_port
AWS_DEFAULT_REGION=us-east-1
AWS_ACCESS_KEY_ID=$(word 20)
AWS_SECRET_ACCESS_KEY=$(word 40)
ENV
}

make_cluster() {
    local fsid mon
    fsid=$(sed -n 's/^fsid = //p' "$CEPH_CONF")
    mon=$(sed -n 's/^mon host = //p' "$CEPH_CONF")
    ceph-authtool --create-keyring "$dir/keyring" --gen-key -n mon. --cap mon 'allow *' >/dev/null
    ceph-authtool "$dir/keyring" --gen-key -n client.admin \
        --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
    ceph-authtool "$dir/keyring" --gen-key -n osd.0 \
        --cap mon 'allow profile osd' --cap osd 'allow *' >/dev/null
    ceph-authtool --create-keyring "$dir/keyring.rgw" --gen-key -n "$rgw_id" \
        --cap mon 'allow rw' --cap osd 'allow rwx' >/dev/null
    ceph-authtool "$dir/keyring" --import-keyring "$dir/keyring.rgw" >/dev/null
    monmaptool --create --fsid "$fsid" --addv a "[$mon]" "$dir/monmap" >/dev/null
    ceph-mon --mkfs -i a --monmap "$dir/monmap" --keyring "$dir/keyring"
}

start_mon() {
    alive mon || ceph-mon -i a --pid-file "$dir/run/mon.pid"
}

# Both are asked for again in the loop: one that was just killed may not be quite dead yet.
# The monitor holds a killed OSD for up until it misses it, and a process is there for a moment after
# it was killed: so the address must end in the process id, and what is there must answer.
up_osd() {
    alive osd || ceph-osd -i 0 --pid-file "$dir/run/osd.pid"
    ceph osd dump --connect-timeout 5 | grep -q "^osd\.0 up .*/$(cat "$dir/run/osd.pid")[],]" &&
        timeout 5 ceph tell osd.0 version
}

up_rgw() {
    alive rgw || radosgw -n "$rgw_id" --pid-file "$dir/run/rgw.pid"
    python3 -c "
import sys, urllib.request
urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=5)" "$1"
}

start_osd() { wait_for 120 "the OSD" up_osd; }

start_rgw() {
    wait_for 120 "the S3 service" up_rgw "$(sed -n 's/^AWS_ENDPOINT_URL=//p' "$dir/env")"
}

case $verb in
start)
    if [ ! -s "$dir/made" ]; then
        write_configuration
        make_cluster
        start_mon
        wait_for 60 "the monitor" ceph --connect-timeout 5 mon stat
        ceph osd new "$(cat /proc/sys/kernel/random/uuid | tee "$dir/osd.fsid")" >/dev/null
        ceph-osd --mkfs -i 0 --osd-uuid "$(cat "$dir/osd.fsid")" >/dev/null 2>"$dir/log/mkfs.log"
        start_osd
        . "$dir/env"
        start_rgw
        radosgw-admin user create --uid=here --display-name=here \
            --access-key="$AWS_ACCESS_KEY_ID" --secret-key="$AWS_SECRET_ACCESS_KEY" \
            >/dev/null 2>"$dir/log/user.log"
        echo yes >"$dir/made"
    else
        start_mon
        start_osd
        start_rgw
    fi
    echo "S3 service in $dir: $(sed -n 's/^AWS_ENDPOINT_URL=//p' "$dir/env"), settings in $dir/env"
    ;;
osd) start_osd ;;
rgw) start_rgw ;;
stop)
    for name in rgw osd mon; do
        alive "$name" || continue
        pid=$(cat "$dir/run/$name.pid")
        kill -CONT "$pid" 2>/dev/null || true
        kill "$pid"
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        kill -9 "$pid" 2>/dev/null || true
        rm -f "$dir/run/$name.pid"
    done
    ;;
*) usage ;;
esac
