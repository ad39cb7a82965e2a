# Tells what a cluster's head node has, a fact a line: its name and its values, separated by tabs, and at last `end`.
# $1 and $2 are the target's pythonLocation and sparkSubmitLocation, or nothing. Starts no JVM where a file will tell.
set -u
python_location=${1/#\~\//$HOME/} submit_location=${2/#\~\//$HOME/}

tell() {
  local IFS=$'\t'
  printf '%s\n' "$*"
}

# a command over ssh has not what a login has, and clusters set much of it there
while IFS= read -r -d '' line; do
  name=${line%%=*} value=${line#*=}
  case $name in
    PATH) PATH=$PATH:$value ;;
    JAVA_HOME | SPARK_HOME | SPARK_CONF_DIR | HADOOP_CONF_DIR | YARN_CONF_DIR | CONDA_EXE)
      [[ -n ${!name:-} ]] || export "$name=$value"
      ;;
  esac
done < <(timeout 10 bash -lc 'printf "\0"; env -0' </dev/null 2>/dev/null)

tell home "$HOME"
tell path "$PATH"
for name in SPARK_CONF_DIR HADOOP_CONF_DIR YARN_CONF_DIR; do
  [[ -z ${!name:-} ]] || tell variable "$name" "${!name}"
done
tell machine "$(nproc)" "$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)" \
  "$(df -Pk -- "$HOME" | awk 'NR == 2 {print $4}')"

about_python='
import sys
from importlib.util import find_spec
makes_venv = all(find_spec(name) for name in ("venv", "ensurepip"))
print(sys.executable, "%d.%d.%d" % sys.version_info[:3], makes_venv, sep="\t")
'
candidates=("$python_location")
[[ -n $python_location ]] || candidates=(python3.13 python3.12 python3.11 python3.10 python3)
for candidate in "${candidates[@]}"; do
  path=$(type -P -- "$candidate") || continue
  about=$(timeout 10 "$path" -I -c "$about_python" </dev/null 2>/dev/null) && tell python "$about"
done

first() { # the first of several paths that is a program
  local path
  for path in "$@"; do
    if [[ -f $path && -x $path ]]; then
      printf '%s' "$path"
      return
    fi
  done
}
tell tool uv "$(first "$(type -P uv)" ~/.local/bin/uv ~/.cargo/bin/uv)"
tell tool conda "$(first "$(type -P conda)" "${CONDA_EXE:-}" ~/miniforge3/bin/conda ~/miniconda3/bin/conda \
  /opt/conda/bin/conda /usr/bin/anaconda/bin/conda)"
tell tool yarn "$(first "$(type -P yarn)" /usr/bin/yarn /usr/hdp/current/hadoop-yarn-client/bin/yarn)"

tell_java() { # where it was found, its home
  local version=
  [[ -x $2/bin/java ]] || return
  [[ -r $2/release ]] && version=$(sed -n 's/^JAVA_VERSION="\(.*\)".*/\1/p' "$2/release")
  [[ -n $version ]] || version=$(timeout 10 "$2/bin/java" -version 2>&1 </dev/null | sed -n 's/.* version "\(.*\)".*/\1/p')
  [[ -z $version ]] || tell java "$1" "$2" "$version"
}
[[ -z ${JAVA_HOME:-} ]] || tell_java JAVA_HOME "$JAVA_HOME"
if path=$(type -P java); then
  path=$(readlink -f "$path")
  tell_java PATH "${path%/bin/java}"
fi
for home in /usr/lib/jvm/*; do
  [[ -L $home ]] || tell_java "$home" "$home"
done

seen=:
candidates=("$submit_location")
[[ -n $submit_location ]] || candidates=("${SPARK_HOME:+$SPARK_HOME/bin/spark-submit}" "$(type -P spark-submit)" \
  /usr/bin/spark-submit /usr/hdp/current/spark*-client/bin/spark-submit /opt/spark/bin/spark-submit)
for submit in "${candidates[@]}"; do
  [[ -f $submit && -x $submit ]] || continue
  real=$(readlink -f "$submit")
  [[ $seen != *":$real:"* ]] || continue
  seen=$seen$real:
  home='' version=''
  above=${real%/*/*}
  for folder in "$above" "$above"/lib/python3*/site-packages/pyspark; do
    if [[ -d $folder/jars ]]; then
      home=$folder
      for jar in "$folder"/jars/spark-core_*.jar; do
        version=${jar##*/spark-core_*-}
        version=${version%.jar}
      done
    fi
  done
  [[ $version == [0-9]* ]] ||
    version=$(timeout 30 "$submit" --version 2>&1 </dev/null | sed -n 's/.*version \([0-9][^ ]*\).*/\1/p' | head -n 1)
  master=''
  for conf in "${SPARK_CONF_DIR:-}" "${home:+$home/conf}" /etc/spark3/conf /etc/spark/conf; do
    [[ -n $conf && -d $conf ]] || continue
    [[ ! -r $conf/spark-defaults.conf ]] ||
      master=$(sed -nE 's/^[[:space:]]*spark\.master[[:space:]=:]+([^[:space:]]+).*/\1/p' "$conf/spark-defaults.conf" | tail -n 1)
    # spark-submit reads it too, and after our variables
    if [[ -r $conf/spark-env.sh ]]; then
      own=$(set +u; unset JAVA_HOME; . "$conf/spark-env.sh" >/dev/null 2>&1 </dev/null; printf '%s' "${JAVA_HOME:-}")
      [[ -z $own ]] || tell_java "$submit" "$own"
    fi
    break
  done
  tell spark "$submit" "$home" "$version" "$master"
done

for conf in "${HADOOP_CONF_DIR:-}" "${YARN_CONF_DIR:-}" /etc/hadoop/conf; do
  [[ -n $conf && -r $conf/yarn-site.xml ]] || continue
  tell hadoop "$conf" "$(tr -d '\n' 2>/dev/null <"$conf/core-site.xml" |
    sed -n 's/.*<name>fs.defaultFS<\/name>[[:space:]]*<value>\([^<]*\)<.*/\1/p')"
  break
done
tell end
