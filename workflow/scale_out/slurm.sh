#!/usr/bin/env bash
# The graph on a real SLURM: controller and node on this machine, started for one run and stopped after it.
#
#   workflow/scale_out/slurm.sh [notebook ...]      default: three quick ones of one core each
#
# For Debian and Ubuntu, as root, on a machine that has no SLURM of its own. Keys, state and logs of the daemons lie in a folder
# that goes with them; what stays is the two packages, the executed notebooks in $BUILD, and with LOG=<file> what was said, without
# names, paths and dates of this machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-.venv/bin/python}
BUILD=${BUILD:-_build/slurm}
notebooks=("$@")
[ $# -gt 0 ] || notebooks=(kdpp/exactness kdpp/digits_and_patches feature_gradients/learnability)

CONFIGURATION=/etc/slurm/slurm.conf

fail() { echo "slurm.sh: $*" >&2; exit 1; }
if [ -n "${LOG:-}" ]; then
  exec > >(sed -u -E -e "s#$PWD/##g; s#\b$(hostname -s)\b#node1#g; s#$PYTHON#python#g" \
    -e '/^\[.* [0-9]{4}\]$/d; /^(Complete log|Elapsed time|host: )/d; s/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/<run>/g' | tee "$LOG") 2>&1
fi
[ ! -e $CONFIGURATION ] || fail "$CONFIGURATION is there: use that SLURM, by snakemake book --profile profiles/slurm"
[ "$(id -u)" = 0 ] || fail "the daemons must start as root."
"$PYTHON" -c 'import snakemake_executor_plugin_slurm' 2>/dev/null ||
  fail "the executor plugin is missing: $PYTHON -m pip install -c constraints.txt -e '.[slurm]'"
if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
  command -v apt-get >/dev/null || fail "install SLURM's controller and node daemons, and munge, and try again."
  echo "Installing slurm-wlm and munge ..."
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
fi

# Munge insists that nobody else can write where its socket and key lie; so they lie in a folder of root's own.
daemons=$(mktemp -d /run/what-to-keep-slurm.XXXXXX)
chmod 755 "$daemons"
mkdir -p "$BUILD" "$daemons"/{controller,node}
rm -rf "${BUILD:?}/runs"
pids=()
stop() {
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do kill "${pids[i]}" 2>/dev/null || true; done
  wait "${pids[@]}" 2>/dev/null || true
  rm -rf "$daemons" $CONFIGURATION
}
trap stop EXIT
trap 'exit 130' INT TERM

(umask 077 && head -c 1024 /dev/urandom >"$daemons/munge.key")
host=$(hostname -s)
cores=$(env -u OMP_NUM_THREADS nproc)  # which counts threads where that is set
memory=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
cat >"$daemons/slurm.conf" <<EOF
ClusterName=one_machine
SlurmctldHost=$host
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$daemons/munge.socket
CredType=cred/munge
StateSaveLocation=$daemons/controller
SlurmdSpoolDir=$daemons/node
SlurmctldPidFile=$daemons/controller.pid
SlurmdPidFile=$daemons/node.pid
# Containers have no control groups of their own: processes are found by their parents, and cores are counted, not fenced.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
# No accounting database. squeue shows a finished job for so many seconds, which is where its end is read.
AccountingStorageType=accounting_storage/none
MinJobAge=300
# Cores and memory are handed out one by one, so that jobs run side by side.
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
ln -s "$daemons/slurm.conf" $CONFIGURATION  # where a job on the node looks

start() { "$@" >>"$daemons/log" 2>&1 & pids+=($!); }
start munged --foreground --force --key-file="$daemons/munge.key" --socket="$daemons/munge.socket" \
  --pid-file="$daemons/munge.pid" --seed-file="$daemons/munge.seed" --log-file="$daemons/munge.log"
for _ in $(seq 50); do [ -S "$daemons/munge.socket" ] && break; sleep 0.2; done
start slurmctld -D
start slurmd -D -N "$host"
for _ in $(seq 150); do [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ] && break; sleep 0.2; done
[ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ] || { cat "$daemons/log" >&2; fail "the node did not come up."; }

export SINFO_FORMAT="%P %a %D %T %c %m" SQUEUE_FORMAT="%.6i %.10P %.44k %.9T %.5C %.8m"
say() { printf '\n$ %s\n' "$*"; "$@"; }
say sinfo --version
say sinfo

targets=("${notebooks[@]/%/.ipynb}")
targets=("${targets[@]/#/$BUILD/runs/quick/}")
# The plugin is the cluster's; its profile is the one that a real cluster gets. Here the whole cluster is this machine.
graph=("$PYTHON" -m snakemake "${targets[@]}" --config "build=$BUILD"
  --profile profiles/slurm --cores "$cores" --max-threads "$cores" --latency-wait 10
  --slurm-init-seconds-before-status-checks 5 --slurm-logdir "$BUILD/logs" --quiet host rules progress)
printf '\n$ snakemake %s\n' "${graph[*]:3}"
"${graph[@]}" &
run=$!
pids+=($run)
seen=
while kill -0 $run 2>/dev/null; do
  now=$(squeue --noheader --states=RUNNING,PENDING --format=%i%T)
  if [ -n "$now" ] && [ "$now" != "$seen" ]; then
    say squeue
  fi
  seen=$now
  sleep 1
done
wait $run
say squeue --states=all
for target in "${targets[@]}"; do
  [ -s "$target" ] || fail "$target was not made."
done
echo
echo "${#targets[@]} notebooks were run by SLURM: ${targets[*]}"
