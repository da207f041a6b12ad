"""Names of the classes of formats that number them."""

from collections.abc import Mapping
from pathlib import Path

from ..wider_face_txt_reader import AnnotationError
from .labelled_image import read_lines


def read_class_names(folder: Path) -> dict[int, str]:
    """Read the names in a folder's data.yaml, classes.txt or .names.

    Without such a file, class 0 is ``face``.
    """
    import yaml  # mmengine's

    # Roboflow's is beside the folders of train and valid.
    files = [*sorted(folder.glob('*.y*ml')), *folder.parent.glob('data.y*ml')]
    for path in files:
        try:
            content = yaml.safe_load(path.read_text(encoding='utf-8'))
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            raise AnnotationError(f'{path}: {error}') from error
        names = content.get('names') if isinstance(content, dict) else None
        if isinstance(names, list):
            return dict(enumerate(map(str, names)))
        if isinstance(names, dict):
            try:
                return {int(number): str(name) for number, name in names.items()}
            except (ValueError, TypeError) as error:
                raise AnnotationError(f'{path}: names: {error}') from error
    # LabelImg's is among the labels, Roboflow's has the underscore.
    places = ('classes.txt', '_classes.txt', 'labels/classes.txt')
    for path in (
        *(folder / place for place in places),
        *sorted(folder.glob('*.names')),
    ):
        if path.is_file():
            return dict(enumerate(name for name in read_lines(path) if name))
    return {0: 'face'}


def class_name(number: float, names: Mapping[int, str], place: str) -> str:
    """Look a class up.

    Raises:
        AnnotationError: If it has no name.
    """
    if number not in names:
        raise AnnotationError(
            f'{place}: class {number:g} is not among the names {dict(names)}'
        )
    return names[int(number)]
