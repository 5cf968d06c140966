#!/bin/sh
# First program of the container: reads secrets from files, makes room for limits by control groups, becomes the command.
set -eu

# NAME_FILE=/run/secrets/x sets NAME to what is in the file: so no secret stands in the container's settings.
for name in LIVERY_DATABASE LIVERY_ROOT_KEY LIVERY_ROOT_KEY_OTHERS ANTHROPIC_API_KEY OPENAI_API_KEY; do
    eval "path=\${${name}_FILE:-}"
    if [ -n "$path" ]; then
        value=$(cat -- "$path")
        export "$name=$value"
        unset "${name}_FILE" value
    fi
done

# The kernel lets a group hold processes or give its controllers to groups below it, never both. So where the container's group can
# be written (version 2), this process moves into a group of its own beside those of the sandboxes. (The machine's own top group
# has no type: outside a container this does nothing.)
groups=/sys/fs/cgroup
if [ -f "$groups/cgroup.type" ] && mkdir "$groups/server" 2>/dev/null; then
    echo 0 >"$groups/server/cgroup.procs" || rmdir "$groups/server"
fi
exec "$@"
