"""The hall: what happened to a scan.

One append-only log of entries per scan; a pure fold turns entries into state, patches and opportunities; every reader
is a position. Read `entry`, `fold`, `patch`, `cursor`, `scanlog` in this order; all of them are pure. `store` is the
port where logs live, `hub` folds what a store feeds.
"""
