"""One file per format, found by being here.

Each exports NAME (for people), EXTENSIONS (with the dot), `claims(head) -> bool` (does text that begins so look like this
format?) and `parse(raw, name) -> Document`.
"""
