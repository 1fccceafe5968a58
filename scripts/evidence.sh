#!/usr/bin/env bash
# Works through the plans in studies/, in order, and leaves their rows, tables and pages in results/. Goes on where it was
# stopped; what is complete is only reported on again.
#
#   scripts/evidence.sh MINUTES [JOBS]     0 minutes: to the end, which takes days
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

minutes=${1:?how many minutes}
jobs=${2:-1}
[[ $minutes =~ ^[0-9]+$ ]] || { echo "evidence: MINUTES is '$minutes'; expected a whole number" >&2; exit 2; }
anact=build/anact
end=$((SECONDS + 60 * minutes))
for plan in studies/*.toml; do
  folder=results/$(basename "$plan" .toml)
  left=0
  if ((minutes > 0)); then
    left=$(((end - SECONDS) / 60))
    if ((left < 1)); then
      echo "evidence: the time is up before $plan"
      continue
    fi
  fi
  echo "evidence: $plan, into $folder"
  status=0
  $anact study run "$plan" --output "$folder" --minutes $left --jobs "$jobs" || status=$?
  ((status == 130)) && exit 130
  # A set of images that is not here is not this plan's fault: the next one may do without.
  ((status == 0)) || echo "evidence: $plan was left: see above"
done
for plan in studies/*.toml; do
  echo "$plan"
  $anact study run "$plan" --output "results/$(basename "$plan" .toml)" --status
done
