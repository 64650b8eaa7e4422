#!/bin/sh
# What a host needs before Ray starts there: leave to read its energy counters, and its agent. Run by the cluster's YAML
# as `host.sh HEAD_IP`, by the user that runs Ray; may be run again at any time.
#
# HEAD_IP (any address of the cluster's network) picks the interface that the agent serves: drivers ask it there, with the
# token that a lease carries; /metrics and /sd need none.
set -eu

# Linux lets only root read RAPL: give it to this user's group, until the next boot. Reading it tells a little about what
# other processes compute, therefore not to everybody. Without sudo the agent estimates, and says so in every report.
group=$(id -g)
for counter in /sys/devices/virtual/powercap/intel-rapl*/*/energy_uj /sys/devices/virtual/powercap/intel-rapl*/*/*/energy_uj; do
  if [ -e "$counter" ] && [ ! -r "$counter" ]; then
    sudo -n chgrp "$group" "$counter" && sudo -n chmod g+r "$counter" || echo "no leave to read $counter" >&2
  fi
done

# The address of this host towards the head.
address=$(ip -o route get "$1" | sed -n 's/.* src \([^ ]*\).*/\1/p')
code=0
energysweep agent --detach --bind "$address" --port 9770 || code=$?
[ "$code" -eq 0 ] || [ "$code" -eq 3 ] # 3: it runs already
