"""Every artefact that passes between stages: its columns, how it is written and read.

Tables are Parquet (zstd), written atomically, with the metadata key ``boldtable`` = JSON of version, stage,
settings, settings_sha256 and inputs. A reader needs only pyarrow.
"""

from boldtable.store.files import Provenance, fingerprint, provenance, sha256_file, sha256_json
from boldtable.store.kept import kept_runs, write_kept
from boldtable.store.parquet import OPTIONS, opened, parquet_schema, sealed
from boldtable.store.schemas import KEYS, schema, vector
from boldtable.store.tables import Writer, array, frame, label, read, rows, write
from boldtable.writing import atomic, write_text

__all__ = [
    "KEYS",
    "OPTIONS",
    "Provenance",
    "Writer",
    "array",
    "atomic",
    "fingerprint",
    "frame",
    "kept_runs",
    "label",
    "opened",
    "parquet_schema",
    "provenance",
    "read",
    "rows",
    "schema",
    "sealed",
    "sha256_file",
    "sha256_json",
    "vector",
    "write",
    "write_kept",
    "write_text",
]
