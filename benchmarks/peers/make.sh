#!/usr/bin/env bash
# Make one peer's own virtual environment: benchmarks/peers/make.sh pythae
set -euo pipefail
cd "$(dirname "$0")"
peer=${1:?usage: make.sh pythae}
case $peer in
  pythae) packages=(torch==2.13.0 "numpy<2.5" pythae==0.1.2) ;;
  ctgan) packages=(torch==2.13.0 ctgan==0.12.1) ;;
  pgmpy) packages=(pgmpy==1.1.2) ;;
  pyagrum) packages=(pyagrum==3.3.1 pandas==3.1.1) ;;
  arfpy) packages=(arfpy==0.1.1 "numpy<2" "pandas<2.3" "scipy<1.14" "scikit-learn<1.6") ;;
  xgboost) packages=(xgboost==3.2.0 numpy==2.4.6 pandas==3.1.1 scikit-learn==1.9.1) ;;
  *) echo "no peer named $peer" >&2; exit 2 ;;
esac
python3 -m venv "$peer"
"$peer/bin/python" -m pip install -q --disable-pip-version-check "${packages[@]}"
"$peer/bin/python" -m pip freeze | grep -iE "^(torch|numpy|$peer)=="
