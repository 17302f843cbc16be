#!/bin/sh
# How many processes of tests this machine has room for: one a processor, four at most, and each
# may load every framework (3 GB with the programs that it starts). Nothing where that is one.
memory=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo 2>/dev/null)
limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null)
case ${limit:-max} in
  max) ;;
  *) [ $((limit / 1048576)) -ge "${memory:-0}" ] || memory=$((limit / 1048576)) ;;
esac
count=$((${memory:-0} / 4000))
cpus=$(nproc 2>/dev/null || echo 1)
[ "$count" -le "$cpus" ] || count=$cpus
[ "$count" -le 4 ] || count=4
[ "$count" -lt 2 ] || echo "$count"
