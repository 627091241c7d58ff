"""Write a file whole or not at all. (agents.lm, which imports none of our packages, has its own, with manifests.)"""

import os
import tempfile
from pathlib import Path


def write_whole(path: Path | str, data: bytes) -> None:
    """Write `data` to `path`: a temporary file beside it, fsync, rename; readable as the user's mask has it.

    A failure raises OSError, leaves an older `path` as it was and no temporary file behind.
    """
    path = Path(path)
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)  # it can only be read by setting it
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
