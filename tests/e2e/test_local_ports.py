"""Every port that a local cluster opens is on the loopback interface."""

import os
from pathlib import Path

from reprocess.clusters.open import open_executor

LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


def listening():
    """(address, port) of every listening TCP socket of this machine, as the kernel tells."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not Path(table).exists():
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                address, _, port = fields[1].partition(":")
                found.add((address, int(port, 16), fields[9]))
    return found


def mine(sockets):
    """Those of this process and of what it started."""
    inodes = set()
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    family = {os.getpid()}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    for pid in family:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    return {entry for entry in sockets if entry[2] in inodes}


def test_a_local_cluster_listens_on_the_loopback_interface_only():
    said = []
    before = listening()
    with open_executor("local", 2, said.append) as executor:
        assert executor.client.scheduler_info()["workers"]
        opened = mine(listening() - before)

    assert len(opened) >= 3, "a scheduler, its dashboard and a worker listen somewhere"
    assert {address for address, _, _ in opened} <= LOOPBACK
