"""Where tasks run: this process, this machine's cores, a Slurm cluster, any Dask scheduler."""
