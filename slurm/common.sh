# What array.sh, merge.sh and ray.sh share. They set the fields at their top and source this file; it runs
# on the first node of the job.
# shellcheck shell=bash
# shellcheck disable=SC2034  # those files use what is set here

set -u

# One task of an array may bear the number of the whole array, so it is always named in full.
if [ -n "${SLURM_ARRAY_JOB_ID:-}" ]; then
    job="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
else
    job="$SLURM_JOB_ID"
fi
restarts="${SLURM_RESTART_COUNT:-0}"

stop="$OUT/slurm/stop-$job"   # tells the driver to leave with 75: a file, since Ray's launcher forwards no signal
mark="$OUT/slurm/exit-$job"   # the driver's own exit code: Ray's launcher leaves with 0 where Ray did not start
token="$OUT/slurm/token-$job" # whoever knows it may run code in this job's Ray
temp="/tmp/vm-$SLURM_JOB_ID"  # short: paths of sockets hold 103 bytes
ended=""

say() {
    echo "$(date '+%Y-%m-%d %H:%M:%S') $job: $*"
}

tidy() {
    rm -f "$stop" "$mark" "$token"
    rm -rf "$temp"
}

# The warning before the wall-time ends.
warned() {
    say "the wall-time ends soon: asking the driver to stop"
    touch "$stop"
}

# Slurm ends the job: by scancel, because others need the nodes, or at its wall-time. It takes no requeuing then.
ended() {
    touch "$stop"
    ended=yes
}

# Sets what the scripts use: $inside, $drive, $cpus and $workers of a node.
prepare() {
    if ! mkdir -p "$OUT/slurm"; then
        say "cannot write to $OUT"
        exit 78
    fi
    tidy
    trap tidy EXIT
    trap warned USR2
    trap ended TERM
    mkdir -m 700 "$temp" || exit 70
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$token") || exit 70
    # No stop file is older than this job: it was removed just now.
    export VIAMACHINAE_STALE_STOP=none
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$token" RAY_USAGE_STATS_ENABLED=0
    export OMP_NUM_THREADS=1
    export PATH="${BIN:+$BIN:}$PATH"
    export TMPDIR="$temp"
    # Slurm before 23.02 does not tell a job when it will be ended.
    if [ -z "${SLURM_JOB_END_TIME:-}" ]; then
        SLURM_JOB_END_TIME=$(date -d "$(squeue --noheader --jobs="$job" --format=%e)" +%s) || exit 70
        export SLURM_JOB_END_TIME
    fi
    cpus="${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}"
    workers=$((cpus / THREADS_PER_CORE))
    workers=$((workers > 0 ? workers : 1))
    contain
    # A signal goes to all processes of a job: the shell around the driver outlives it, to say how it ended.
    # shellcheck disable=SC2016  # the inner shell expands it
    drive=(bash -c 'trap : TERM USR2; "$@"; echo $? >"$0"' "$mark" viamachinae run "$SCAN" --out "$OUT" --offline
        --stop-file "$stop" --until-walltime auto)
    say "on $SLURM_JOB_NODELIST, restart $restarts, until $(date -d "@$SLURM_JOB_END_TIME" '+%Y-%m-%d %H:%M:%S')"
}

# Sets $gpus: GPUs of a node, each node having one task. Where SLURM_GPUS_PER_TASK stays empty, as at NERSC,
# the number stands in SLURM_TRES_PER_TASK: gres/gpu=4, gres:gpu:4 or gres/gpu:a100=4.
count_gpus() {
    local number='([A-Za-z][^,:=]*[:=])?([0-9]+)'
    gpus=0
    if [[ "${SLURM_TRES_PER_TASK:-}" =~ gres[/:]gpu[:=]$number ]]; then
        gpus="${BASH_REMATCH[2]}"
    elif [[ "${SLURM_GPUS_PER_TASK:-${SLURM_GPUS_PER_NODE:-${SLURM_GPUS_ON_NODE:-}}}" =~ ^$number ]]; then
        gpus="${BASH_REMATCH[2]}"
    fi
}

# Sets $inside: what stands before a command that is to run in the container; nothing without one.
contain() {
    local mount name
    inside=()
    case "$CONTAINER" in
    shifter)
        inside=(shifter "--image=$IMAGE")
        [ "$GPU" = yes ] && inside+=(--module=gpu)
        ;;
    podman-hpc)
        inside=(podman-hpc run --rm --net=host --shm-size=1g "--volume=$OUT:$OUT" "--workdir=$OUT")
        for mount in "${MOUNTS[@]}"; do inside+=("--volume=$mount:$mount:ro"); done
        for name in OMP_NUM_THREADS SLURM_JOB_ID SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID SLURM_RESTART_COUNT \
            SLURM_JOB_END_TIME NERSC_HOST VIAMACHINAE_STALE_STOP RAY_ADDRESS RAY_AUTH_MODE RAY_AUTH_TOKEN_PATH \
            RAY_USAGE_STATS_ENABLED RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT; do
            inside+=(--env "$name")
        done
        [ "$GPU" = yes ] && inside+=(--gpu)
        inside+=("$IMAGE")
        ;;
    esac
}

# Runs a command beside this script, which can then hear signals, and ends the job as its driver ended.
#   $@  the command, with "${drive[@]}" in it
supervise() {
    local child code
    "$@" &
    child=$!
    # A signal ends `wait` early, with a code above 128.
    while :; do
        wait "$child"
        if [ $? -le 128 ] || ! kill -0 "$child" 2>/dev/null; then break; fi
    done
    code=$(cat "$mark" 2>/dev/null)
    if [ -z "$code" ]; then
        say "the driver did not start, or was killed: see above"
        code=70
    fi
    leave "$code"
}

# Ends the job with the driver's exit code; requeues it on 75, "resume me", and on nothing else.
leave() {
    local code="$1"
    say "the driver left with $code"
    if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
        srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" rm -rf "$temp"
    fi
    if [ "$code" != 75 ]; then
        exit "$code"
    elif [ -n "$ended" ]; then
        say "ended by Slurm: unless it brings the job back itself, as after preemption, submit the scan again"
    elif [ "$restarts" -ge "$MAX_RESTARTS" ]; then
        say "restarted $restarts times already: look at the log, then submit the scan again"
    else
        tidy
        scontrol requeue "$job" && exit 0
        say "not requeued: submit the scan again to go on"
    fi
    exit 75
}
