"""Where the processors, catalogues and analyses that come with the package are found."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Room = Literal["processors", "datasets", "analyses"]


def builtin_folder(room: Room) -> Path:
    """Folder of a built-in room: inside an installed wheel, else beside the package."""
    package = Path(__file__).parent
    installed = package / "_builtin" / room
    return installed if installed.is_dir() else package.parent / room
