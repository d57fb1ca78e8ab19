#!/bin/bash
# Stops what `make up` started: the process, the machines, their network. Data stays.
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin
[ -x bin/marinad ] || { echo "Nothing was started from here: bin/marinad is not there."; exit 0; }
exec bin/marinad down
