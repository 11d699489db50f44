"""Work in other processes, here or on a cluster: a job that raises, crashes, hangs or loses its machine costs itself.

Each process that works has a keeper (:mod:`.keeper`), which tells it jobs, watches it, and starts another one where it
ended; where many keepers are is what differs: threads of this process (:mod:`.local`) or of a Dask cluster's workers
(:mod:`.cluster`). Nothing heavy is imported here: jobs and results pass as bytes.
"""
