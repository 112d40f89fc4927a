"""Every artefact that passes between stages: its columns, how it is written and read.

Tables are Parquet (zstd), written atomically, with the metadata key ``boldtable`` = JSON of version, stage,
settings, settings_sha256 and inputs. A reader needs only pyarrow.
"""

from boldtable.store.files import Provenance, atomic, fingerprint, provenance, sha256_json, write_text
from boldtable.store.schemas import KEYS, schema, vector
from boldtable.store.tables import Writer, array, frame, label, read, rows, write

__all__ = [
    "KEYS",
    "Provenance",
    "Writer",
    "array",
    "atomic",
    "fingerprint",
    "frame",
    "label",
    "provenance",
    "read",
    "rows",
    "schema",
    "sha256_json",
    "vector",
    "write",
    "write_text",
]
