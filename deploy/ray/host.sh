#!/bin/sh
# What a host needs before Ray starts there: leave to read its energy counters, and its agent. Run by the cluster's YAML
# as `host.sh [HEAD_IP]`, by the user that runs Ray; may be run again at any time.
#
# The agent serves the interface towards HEAD_IP, by default that of the default route: drivers ask it there, with
# their run's key; /metrics and /sd need none.
set -eu

# Linux lets only root read RAPL: give it to this user's group, until the next boot. Reading it tells a little about what
# other processes compute, therefore not to everybody. Without sudo the agent estimates, and says so in every report.
group=$(id -g)
for counter in /sys/devices/virtual/powercap/intel-rapl*/*/energy_uj /sys/devices/virtual/powercap/intel-rapl*/*/*/energy_uj; do
  if [ -e "$counter" ] && [ ! -r "$counter" ]; then
    sudo -n chgrp "$group" "$counter" && sudo -n chmod g+r "$counter" || echo "no leave to read $counter" >&2
  fi
done

# An agent that runs may be of an earlier version of energysweep. It ends, and the new one goes on from its state.
address=$(ip -o route get "${1:-192.0.2.1}" | sed -n 's/.* src \([^ ]*\).*/\1/p')
code=0
energysweep agent --detach --replace --bind "$address" --port 9770 || code=$?
[ "$code" -eq 0 ] || [ "$code" -eq 3 ] # 3: a trial has started one since, of the version that is installed
