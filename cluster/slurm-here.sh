#!/usr/bin/env bash
# A whole Slurm on this one machine, for tests and for trying a profile out: munge, slurmctld and two
# nodes (4 CPUs, 8 GB and 2 pretended GPUs each) on loopback, no systemd. Everything lies in one
# directory; `stop` ends what `start` started and nothing else.
#
#     apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge
#     cluster/slurm-here.sh start DIR && export SLURM_CONF=DIR/etc/slurm.conf
#     sbatch … / python -m reprocess.run campaign.yaml --cluster slurm
#     cluster/slurm-here.sh stop DIR
#
# Needs root (its daemons switch users). Not a production set-up.
set -euo pipefail

usage() { echo "usage: $0 start|stop DIR" >&2; exit 2; }
[ $# -eq 2 ] || usage
verb=$1
mkdir -p "$2"
dir=$(cd "$2" && pwd)
PATH=$PATH:/usr/sbin:/sbin

die() { echo "slurm-here: $*" >&2; exit 1; }

# Whether a process is alive and is that program: pids are used again.
is() { # PID PROGRAM
    [ -n "$1" ] && [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ]
}

runs() { # PIDFILE PROGRAM
    is "$(cat "$1" 2>/dev/null || true)" "$2"
}

end() { # PIDFILE PROGRAM
    # The pid is kept: munged takes its file away a moment before it is gone.
    local pid signal
    pid=$(cat "$1" 2>/dev/null || true)
    for signal in TERM KILL; do
        is "$pid" "$2" || break
        kill -"$signal" "$pid" 2>/dev/null || true
        for _ in $(seq 100); do
            is "$pid" "$2" || break
            sleep 0.1
        done
    done
    rm -f "$1"
}

free_ports() { # three different ones
    python3 - <<'PY'
import socket
held = [socket.socket() for _ in range(3)]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))
PY
}

start() {
    local program
    for program in munged slurmctld slurmd sbatch; do
        command -v "$program" >/dev/null ||
            die "$program is not installed: apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge"
    done
    [ "$(id -u)" -eq 0 ] || die "needs root, this is $(id -un)"
    runs "$dir/run/slurmctld.pid" slurmctld && die "$dir: runs already; stop it first"
    rm -rf "${dir:?}"/{etc,munge,state,spool,log,run,dev}
    mkdir -p "$dir"/{etc,munge,state,spool/n1,spool/n2,log,run,dev}
    chmod 755 "$dir"
    local host ctld n1 n2 gpu
    host=$(hostname -s)
    read -r ctld n1 n2 < <(free_ports)
    # Slurm wants devices; a container may not be allowed to make them.
    for gpu in 0 1; do ln -s /dev/null "$dir/dev/nvidia$gpu"; done

    (umask 077 && head -c 1024 /dev/urandom >"$dir/munge/munge.key")
    chmod 700 "$dir/munge"
    chown -R "$(id -u)" "$dir/munge"

    cat >"$dir/etc/slurm.conf" <<CONF
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$ctld
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/munge.sock,cred_expire=5
CommunicationParameters=block_null_hash,NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,defer_batch
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobcomp.log
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$n1 CPUs=4 RealMemory=8000 Gres=gpu:h100:2
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$n2 CPUs=4 RealMemory=8000 Gres=gpu:h100:2
PartitionName=gpu Nodes=n[1-2] Default=YES PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=n[1-2] PriorityTier=10 PreemptMode=OFF
CONF
    cat >"$dir/etc/gres.conf" <<CONF
AutoDetect=off
NodeName=n[1-2] Name=gpu Type=h100 File=$dir/dev/nvidia[0-1]
CONF
    # Read even where no plugin uses cgroups; "disabled" is refused.
    echo "CgroupPlugin=cgroup/v1" >"$dir/etc/cgroup.conf"

    export SLURM_CONF=$dir/etc/slurm.conf
    trap stop EXIT # a start that fails leaves nothing behind
    munged --force --key-file="$dir/munge/munge.key" --socket="$dir/munge/munge.sock" \
        --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" \
        --seed-file="$dir/munge/munge.seed" 2>>"$dir/log/munged.log"
    slurmctld -c
    slurmd -N n1
    slurmd -N n2
    for _ in $(seq 150); do
        if [ "$(sinfo -h -o '%T %D' 2>/dev/null | sort -u | tr -s '\n' ' ')" = "idle 2 " ]; then
            trap - EXIT
            echo "SLURM_CONF=$SLURM_CONF"
            return 0
        fi
        sleep 0.2
    done
    tail -n 5 "$dir"/log/*.log >&2
    die "the nodes did not become idle within 30 s; logs in $dir/log"
}

stop() {
    export SLURM_CONF=$dir/etc/slurm.conf
    if runs "$dir/run/slurmctld.pid" slurmctld; then
        # Jobs first: their processes are no children of the daemons.
        scancel -f --user="$(id -un)" 2>/dev/null || true
        for _ in $(seq 60); do
            [ -z "$(squeue -h 2>/dev/null)" ] && break
            sleep 0.2
        done
    fi
    end "$dir/run/slurmd-n1.pid" slurmd
    end "$dir/run/slurmd-n2.pid" slurmd
    end "$dir/run/slurmctld.pid" slurmctld
    end "$dir/run/munged.pid" munged
}

case $verb in
start) start ;;
stop) stop ;;
*) usage ;;
esac
