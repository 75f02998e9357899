"""The door between workshop and shop floor: a finished model on disk, as data and never as code. See FORMAT.md.

    write_bundle   files and a manifest → a folder, whole or not at all
    open_bundle    a folder → a Bundle, or a refusal that names the file and the reason
    verify         a folder → the list of its problems
"""

from .card import model_card
from .manifest import FORMAT_VERSION, FileEntry, Manifest, Rung
from .store import Bundle, check_target, open_bundle, verify, write_bundle

__all__ = ["FORMAT_VERSION", "Bundle", "FileEntry", "Manifest", "Rung", "check_target", "model_card", "open_bundle", "verify", "write_bundle"]
