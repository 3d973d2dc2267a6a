from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def resource_dir(name: str) -> Path:
    """Find a folder of YAML files that ships with the package.

    Args:
        name: ``properties`` or ``dataset_configs``.

    Returns:
        The folder inside the package (wheel), else beside it (checkout, editable install).

    Raises:
        FileNotFoundError: If the installation lacks it.
    """
    for folder in (_PACKAGE / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{name}/ is neither inside {_PACKAGE} nor beside it: reinstall")
