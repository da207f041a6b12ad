#!/usr/bin/env bash
# From a fresh clone to faces in a photograph, and to a trained and tested SRN on
# data that is made here: set-up, the shipped model, face mosaic, mim train, mim
# test, pictures. About 25 minutes on two cores; a second run does only what is
# missing.
#
#   bash tools/quickstart.sh [OUT]      default OUT: work_dirs/quickstart
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case "${1:-}" in
  -h | --help)
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac
config=configs/srn_r18_face_mosaic.py
data=data/face_mosaic
out=${1:-work_dirs/quickstart}
[ $# -eq 0 ] || out=$(mkdir -p "$out" && cd "$out" && pwd)
cd "$repo"
start=$SECONDS

step() { printf '\n== %s (%d s since the start)\n' "$1" $((SECONDS - start)); }

step 'Set-up'
bash tools/setup.sh
# shellcheck disable=SC1091
. "${MMDET_SRN_VENV:-.venv}/bin/activate"

step 'Faces in a photograph, with the model that is shipped'
mkdir -p "$out"
photo=$(python -c 'import skimage; print(skimage.__path__[0])')/data/astronaut.png
python -m mmdet_srn "$photo" --out "$out/faces" --overwrite
echo "drawn in $out/faces; yours: . ${MMDET_SRN_VENV:-.venv}/bin/activate;" \
  "python -m mmdet_srn photo.jpg"

step 'Face mosaic'
python tools/dataset_converters/make_face_mosaic.py "$data"

step 'Training'
# What is there must not be resumed after the config or the data have changed.
settings=$(cat "$config" configs/_base_/*.py configs/_base_/*/*.py "$data/mosaic.json" |
  cksum)
if [ -f "$out/settings" ] && [ "$settings" != "$(cat "$out/settings")" ]; then
  echo "$out holds a run of another config or mosaic. Remove it, or name another" \
    'folder: bash tools/quickstart.sh OUT' >&2
  exit 1
fi
printf '%s\n' "$settings" >"$out/settings"
# --resume continues an interrupted run, and finds nothing to do after a whole one.
mim train mmdet_srn "$config" --work-dir "$out" --resume
checkpoint=$(cat "$out/last_checkpoint")

step 'Test'
if [ "$out/results.pkl" -nt "$checkpoint" ]; then
  echo "$out/results.pkl is newer than $checkpoint: already tested"
else
  mim test mmdet_srn "$config" --checkpoint "$checkpoint" --work-dir "$out/test" \
    --out "$out/results.pkl"
fi

step 'Pictures'
log=$(find "$out" -path '*/vis_data/scalars.json' -size +0 -not -path "$out/test/*" |
  sort | tail -n 1)
python tools/analysis_tools/report_results.py "$out/results.pkl" "$out" --protocol original \
  ${log:+--log "$log"}

step 'Done'
printf '%s\n' "checkpoint  $checkpoint" "results     $out/results.pkl" \
  "data        $data" "faces       $out/faces" "pictures    $out/{detections,mistakes,pr_curve,thresholds,losses}.png"
