#!/bin/bash
# The whole scan on several nodes: one Ray over all of them, with one driver on the first.
#
#   sbatch --nodes=4 ray.sh
#
# `viamachinae submit` fills in the fields and writes the result to the scan's folder; or edit them here. The
# settings must say runner.address = "auto"; submit sees to it.
#SBATCH --job-name=scan
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=06:00:00
#SBATCH --signal=B:USR2@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

SCAN=scan.toml     # settings of the scan
OUT=scan           # its folder, on a disk that all nodes see
HERE=slurm         # folder of common.sh
BIN=               # folder of the program viamachinae, put first on PATH; empty: it is there
GPU=no             # yes: densities train on GPUs
THREADS_PER_CORE=1 # CPUs, as Slurm counts them, that a worker takes
MAX_RESTARTS=100   # how often the job may put itself back into the queue
CONTAINER=         # shifter or podman-hpc; empty: none
IMAGE=             # its image, with viamachinae in it
MOUNTS=()          # podman-hpc: folders to read, beside OUT

# shellcheck source=common.sh
source "$HERE/common.sh" || exit 78

# Two jobs on one node must not meet: above the ports of Ray's workers (19999), below Linux's own (32768).
port=$((20000 + SLURM_JOB_ID % 1200 * 10))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export RAY_ADDRESS="$head:$port" RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300
prepare
gpus=0
if [ "$GPU" = yes ]; then count_gpus; fi

supervise srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --cpus-per-task="$cpus" \
    --cpu-bind=none "${inside[@]}" \
    ray symmetric-run --address "$RAY_ADDRESS" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus="$workers" --num-gpus="$gpus" --object-store-memory=100000000 --temp-dir="$temp" \
    --include-dashboard=false --ray-client-server-port=$((port + 1)) --node-manager-port=$((port + 2)) \
    --object-manager-port=$((port + 3)) --runtime-env-agent-port=$((port + 4)) \
    --dashboard-agent-listen-port=$((port + 5)) --dashboard-agent-grpc-port=$((port + 6)) \
    --metrics-export-port=$((port + 7)) -- "${drive[@]}"
