"""The door between workshop and shop floor: a finished model on disk, as data and never as code. See FORMAT.md.

    write_bundle   files and a manifest → a folder, whole or not at all
    open_bundle    a folder → a Bundle, or a refusal that names the file and the reason
    verify         a folder → the list of its problems
    model_card     a manifest and a receipt → README.md
"""

from typing import TYPE_CHECKING, Any

from .manifest import FORMAT_VERSION, FileEntry, Manifest, Rung
from .store import Bundle, check_target, open_bundle, verify, write_bundle

if TYPE_CHECKING:
    from .card import model_card

__all__ = ["FORMAT_VERSION", "Bundle", "FileEntry", "Manifest", "Rung", "check_target", "model_card", "open_bundle", "verify", "write_bundle"]


def __getattr__(name: str) -> Any:
    # The card is for writers; whoever opens a bundle to answer does not wait for it.
    if name == "model_card":
        from .card import model_card

        return model_card
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
