"""The word that lets a test into the Ray clusters of the tests, drawn anew for each process.

One for all clusters of a process: Ray keeps the first word that it was told and sends it to every later cluster.
"""

from __future__ import annotations

import secrets

WORD = secrets.token_hex(32)
