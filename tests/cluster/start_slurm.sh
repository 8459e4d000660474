#!/usr/bin/env bash
# A real Slurm on this machine alone, for tests: controller, one node, no accounting.
#
#   apt-get install slurm-wlm munge        # Debian's, tried with 22.05
#   tests/cluster/start_slurm.sh FOLDER    # as root; state, logs and configuration go to FOLDER
#   export SLURM_CONF=FOLDER/slurm.conf
#   tests/cluster/start_slurm.sh --stop FOLDER
set -euo pipefail

running() { # a process that nobody waited for stays in the table as a zombie
    [ -d "/proc/$1" ] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status"
}

stop() {
    for name in slurmd slurmctld munged; do
        [ -f "$1/$name.pid" ] || continue
        pid=$(cat "$1/$name.pid")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 100); do
            running "$pid" || break
            sleep 0.1
        done
        rm -f "$1/$name.pid"
    done
}

if [ "${1:-}" = "--stop" ]; then
    stop "$(realpath "$2")"
    exit 0
fi

mkdir -p "$1"
folder=$(realpath "$1")
host=$(hostname -s)
mkdir -p "$folder"/{state,spool,munge}
# munged refuses folders that others may write to, and talks through a socket of its own
chown munge: "$folder/munge"
chmod 755 "$folder/munge"
dd if=/dev/urandom of="$folder/munge/munge.key" bs=128 count=1 status=none
chown munge: "$folder/munge/munge.key"
chmod 400 "$folder/munge/munge.key"

cat > "$folder/cgroup.conf" <<EOF
CgroupPlugin=cgroup/v1
EOF
cat > "$folder/slurm.conf" <<EOF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/munge.socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SchedulerParameters=sched_interval=2
KillWait=5
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(free -m | awk '/^Mem/ {print int($2 * 0.9)}')
PartitionName=main Nodes=$host Default=YES MaxTime=1:00:00 State=UP OverSubscribe=FORCE:2
EOF
export SLURM_CONF="$folder/slurm.conf"

runuser -u munge -- munged \
    --key-file="$folder/munge/munge.key" --socket="$folder/munge/munge.socket" \
    --pid-file="$folder/munge/munged.pid" --log-file="$folder/munge/munged.log" \
    --seed-file="$folder/munge/munged.seed"
cp "$folder/munge/munged.pid" "$folder/munged.pid"
slurmctld
slurmd

for _ in $(seq 30); do
    if timeout 10 srun --immediate=5 true 2>/dev/null; then
        echo "Slurm is running; export SLURM_CONF=$SLURM_CONF"
        exit 0
    fi
    sleep 1
done
tail -n 20 "$folder"/*.log >&2
stop "$folder"
exit 1
