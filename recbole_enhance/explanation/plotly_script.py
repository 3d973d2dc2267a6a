"""plotly.js once for the pages of folders that lie beside each other."""

import os
from pathlib import Path

from recbole_enhance.storage.run_folder import RunFolder

SCRIPT = "plotly.min.js"


def share_plotly(folder: Path) -> str:
    """Make sure that plotly.js lies in the folder above a page's folder.

    A file that is there stays: it may be a smaller build of plotly.js (``basic`` has the scatter
    and bar plots that our pages draw).

    Args:
        folder: The page's folder.

    Returns:
        What the page refers to.

    Raises:
        OSError: If the folder above cannot be written.
    """
    from plotly.offline import get_plotlyjs

    above = Path(os.path.abspath(folder)).parent  # without ".."
    if not (above / SCRIPT).is_file():
        RunFolder(above, fresh=False).write_text(SCRIPT, get_plotlyjs())
    return f"../{SCRIPT}"
