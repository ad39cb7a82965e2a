# The process of a job on a head node: `start FOLDER`, `alive PID START`, `cancel PID START FOLDER YARN RUN MODE`.
# START is the kernel's time of the process's start, so that a number that was given away again is not taken for the job.
set -u

about() { # sets state, session and began of a process; its name may hold anything
  local line=''
  state='' session='' began=''
  { read -r -d '' line <"/proc/$1/stat"; } 2>/dev/null
  [[ -n $line ]] || return 1
  set -- ${line##*) }
  state=$1 session=$4 began=${20}
}

members() { # the processes of the session $1 that run
  local folder state session began
  for folder in /proc/[0-9]*; do
    about "${folder#/proc/}" && [[ $session == "$1" && $state != Z ]] && printf '%s\n' "${folder#/proc/}"
  done
}

alive() {
  about "$1"
  [[ $began == "$2" && $state != Z ]]
}

start() {
  local secrets
  # read to the end before we return: the connection that brings them ends with us
  IFS= read -r -d '' secrets
  setsid bash "$1/runner.sh" "$1" - < <(printf '%s' "$secrets") >/dev/null 2>&1 &
  local pid=$!
  about "$pid" && printf '%s %s\n' "$pid" "$began"
}

end_applications() { # YARN, run, log
  local id ids
  ids=$(grep -Eo '(spark|Submitted) application application_[0-9]+_[0-9]+' "$3" 2>/dev/null | grep -Eo '[^ ]*$' | sort -u)
  [[ -n $ids ]] || ids=$("$1" application -list -appTags "$2" 2>/dev/null | grep -Eo '^ *application_[0-9]+_[0-9]+')
  for id in $ids; do
    "$1" application -kill "$id" >&2 || failed=1
  done
}

cancel() {
  local pid=$1 start=$2 folder=$3 yarn=$4 run=$5 mode=$6 failed=0 rest others
  if [[ -e /proc/$pid ]] && ! alive "$pid" "$start"; then
    [[ $began == "$start" ]] || pid=  # its number is somebody else's by now
  fi
  [[ -z $yarn ]] || end_applications "$yarn" "$run" "$folder/log"
  if [[ -n $pid ]]; then
    kill -TERM $(members "$pid") 2>/dev/null
    for _ in {1..100}; do
      rest=$(members "$pid")
      [[ -n $rest ]] || break
      sleep 0.1
    done
    # the runner last, so that it can tell the exit code
    others=$(members "$pid" | grep -vx "$pid")
    [[ -z $others ]] || kill -KILL $others 2>/dev/null
    for _ in {1..20}; do
      rest=$(members "$pid")
      [[ -n $rest ]] || break
      sleep 0.1
    done
    [[ -z $rest ]] || kill -KILL $rest 2>/dev/null
  fi
  # it may have been handed in while we looked
  [[ -z $yarn || $mode != cluster ]] || end_applications "$yarn" "$run" "$folder/log"
  return "$failed"
}

"$@"
