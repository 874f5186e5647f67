"""Real federations: the same configurations and algorithms, trained at nodes that Flower connects.

Only networking is Flower's: one ServerApp, one ClientApp, messages between them. The loop, the
algorithms, evaluation, files and resuming are those of a run in one process; time is that of the
wall (`wall_clock`), and clients' examples stay where they are (`training.remote_shards`).

What needs no Flower can be imported without it: `wall_clock`, `messages`, `handshake`, `site`. The
others (`records`, `members`, `executor`, `federation`, `server_app`, `client_app`, `warm_node`,
`keys`) need the extra ``flower``. The command line is ``python -m fl_runtime.flower``.
"""
