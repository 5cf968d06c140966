#!/bin/sh
# First program of the container: makes room for limits by control groups, then becomes the command.
#
# The kernel lets a group hold processes or give its controllers to groups below it, never both. So where the container's group can
# be written (version 2), this process moves into a group of its own beside those of the sandboxes.
set -eu

groups=/sys/fs/cgroup
if [ -f "$groups/cgroup.controllers" ] && mkdir "$groups/server" 2>/dev/null; then
    echo 0 >"$groups/server/cgroup.procs" || rmdir "$groups/server"
fi
exec "$@"
