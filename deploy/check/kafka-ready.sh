#!/bin/bash
# Whether the broker at "--bootstrap-server HOST:PORT" takes connections.
: </dev/tcp/${2/:/\/}
