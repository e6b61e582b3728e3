"""A resident process that forks Flower's short-lived commands, so that none imports Flower anew.

Flower starts ``flwr-clientapp`` by its name from PATH for every message, and most of such a message
is the interpreter importing what the last one had imported. A folder of tiny scripts with Flower's
names goes first in PATH; each hands its call to the resident process, which forks: same code, same
isolation of state, no import. Where the resident process is away, the script runs Flower's own
command.
"""
