# Runs one job on the target, in its run folder ($1), and leaves there what the launcher asks for: `log` while it runs
# and, last of all, `exit` with the exit code. Secret variables come by standard input ($2 is -), or in a file that
# lies in memory only ($2), which is removed as soon as it is read. They reach the job by its environment alone.
set -u
run=$1
case ${2:-} in
  -) eval "$(cat)" ;;
  ?*)
    until [[ -e $2 ]]; do sleep 0.05; done
    eval "$(cat "$2")"
    rm -f "$2"
    ;;
esac
. "$run/environment"
cd "$run/code" || exit 4
bash -c "$(cat "$run/command")" </dev/null >>"$run/log" 2>&1 &
job=$!
# a signal ends the wait, not the job; its exit code comes with the next wait
trap 'asked=yes; kill -TERM "$job" 2>/dev/null' TERM INT HUP
asked=yes
while [[ $asked ]]; do
  asked=
  wait "$job"
  code=$?
done
echo "$code" >"$run/exit.part" && mv "$run/exit.part" "$run/exit"
exit "$code"
