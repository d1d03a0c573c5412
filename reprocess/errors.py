"""One tree of errors, grouped by what the caller can do about them.

The command line turns each branch into an exit code: configuration 2,
cluster 3. A failed block is not raised: it is a counted, listed result
(exit code 1) and everything already committed stays.
"""


class ReprocessError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigurationError(ReprocessError):
    """What was asked for cannot be right: edit the campaign or the command and run again."""


class ArchiveError(ReprocessError):
    """The archive cannot be listed completely, so what it holds is not known.

    Raised before anything is planned: a directory that cannot be read must
    never look like frames that were removed.
    """


class UnreadableFrame(ReprocessError):
    """One file is not the image it should be. Counted with its reason, never fatal."""


class StoreError(ReprocessError):
    """A store holds something other than what was committed to it."""


class LayoutDamaged(StoreError):
    """Metadata or coordinates of a whole year or the cube are not what was laid out.

    No block is at fault: their records stay, and the metadata is written again.
    """


class ServiceUnavailable(ReprocessError, OSError):
    """The service behind an archive or a store gave no answer for as long as it may be waited for.

    What is committed stays; run again when the service answers.
    """


class LockLost(ReprocessError):
    """Another run has taken over this year: stop writing at once."""


class LockHeld(ReprocessError):
    """Another live run is writing this year."""


class ClusterError(ReprocessError):
    """No workers, or the cluster refused the job: nothing wrong with the campaign."""
