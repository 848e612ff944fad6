"""Files of a photograph that was deleted while they were being written.

Knows:   that a folder whose photograph is not in the database has no owner.
Ignores: who writes, and what.
"""

from foveate.server.storage.data_dir import DataDir
from foveate.server.storage.database import Database


def delete_remains(database: Database, data_dir: DataDir, identifier: str) -> bool:
    """Delete the folder of a photograph that is no longer in the database; return True in that case.

    Code that writes into a photograph's folder calls this afterwards. A photograph is removed from the
    database before its folder is, so that either this call or the deletion itself removes all files.
    """
    if database.get(identifier) is not None:
        return False
    data_dir.delete(data_dir.photograph(identifier).folder)
    return True
