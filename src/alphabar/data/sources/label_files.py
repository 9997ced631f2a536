"""Labels that lie in a file beside pictures: which row is of which picture, and what its class is."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unicodedata import normalize

from ...errors import no_column, some
from ...files import expanded, parse_json
from .labels import the_one
from .pictures import PICTURE_ENDINGS
from .source_types import LABEL_KEYS, LABEL_NAMES, stamp
from .tables import delimiter_of
from .typed import check_kinds, is_class

LABEL_FILES = (".csv", ".tsv", ".json", ".jsonl")
METADATA = ("metadata.jsonl", "metadata.csv")
"""What Hugging Face's ImageFolder writes: names are from its own folder on."""
LOOKED_AT = 20  # lines, for the delimiter
FORMS = ("", ", without ending", ", without folder", ", without folder and ending")


class Sheet(NamedTuple):
    """A table of values: its columns by name ("1", "2", … where they have none), and its rows."""

    columns: list[str]
    rows: list[list[Any]]
    headed: bool = True


@dataclass
class Told:
    """The label of each picture, as far as it has one; or what is told of it in several columns.

    Attributes:
        labels: by the picture's name; of columns, their cells.
        notes: what was taken, and what is of no picture.
        columns: their names, unless the labels are classes.
    """

    labels: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    columns: tuple[str, ...] = ()


# --- files → tables ------------------------------------------------------------------------------


def read_sheet(content: bytes, where: str, is_name: Callable[[str], bool], empty_rows: bool = False) -> Sheet:
    """The table in a .csv, .tsv, .json or .jsonl file; `is_name` says whether a text names a picture.

    Rows of empty cells alone are left out unless `empty_rows`; empty lines always are.

    JSON is {name: label}, [[name, label], …], a list of objects, or one of these under the name "labels".
    """
    ending = where.rpartition(".")[2].lower()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where} is not in UTF-8 ({error.reason}): save it so") from None
    try:
        if ending in ("csv", "tsv"):
            return _of_texts(text, ending, is_name, empty_rows)
        if ending == "jsonl":
            return _of_json([parse_json(line) for line in text.splitlines() if line.strip()])
        return _of_json(parse_json(text))
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{where} cannot be read as names and labels: {error}") from None


def _of_texts(text: str, ending: str, is_name: Callable[[str], bool], empty_rows: bool) -> Sheet:
    delimiter = "\t" if ending == "tsv" else delimiter_of(text.splitlines()[:LOOKED_AT])
    rows = [
        [cell.strip() for cell in row]
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        if (row if empty_rows else any(cell.strip() for cell in row))
    ]
    if not rows:
        raise ValueError("it is empty")
    headed = not any(map(is_name, rows[0]))
    width = max(map(len, rows))
    columns = rows[0] if headed else []
    columns = [*columns, *(str(i + 1) for i in range(len(columns), width))]
    return Sheet(columns, [row + [""] * (width - len(row)) for row in rows[headed:]], headed)


def _of_json(value: Any) -> Sheet:
    if isinstance(value, dict) and isinstance(value.get("labels"), list | dict):
        value = value["labels"]
    if isinstance(value, dict):
        value = [{"file": k, **v} if isinstance(v, dict) else [k, v] for k, v in value.items()]
    if not isinstance(value, list) or not value:
        raise ValueError('it must be {"NAME": "LABEL", …}, or a list of objects that have a name and a label')
    if all(isinstance(entry, dict) for entry in value):
        columns = list(dict.fromkeys(name for entry in value for name in entry))
        return Sheet(columns, [[entry.get(name) for name in columns] for entry in value])
    if all(isinstance(entry, list) and len(entry) == 2 for entry in value):
        return Sheet(["1", "2"], value, False)
    raise ValueError("its entries must all be objects, or all be pairs [NAME, LABEL]")


# --- tables → labels -----------------------------------------------------------------------------


def forms(name: str) -> tuple[str, str, str, str]:
    """A picture's name as it is, without its ending, without its folder, and without both."""
    path = normalize("NFC", name.replace("\\", "/")).removeprefix("./")
    stem, dot, ending = path.rpartition(".")
    stem = stem if dot and f".{ending.lower()}" in PICTURE_ENDINGS else path
    return path, stem, path.rpartition("/")[2], stem.rpartition("/")[2]


def labels_in(
    sheet: Sheet,
    pictures: Sequence[str],
    where: str,
    columns: str = "",
    plain: bool = False,
    kinds: Mapping[str, str] | None = None,
) -> Told | None:
    """The labels of pictures by a table of names and labels.

    The column of names is the one that names most pictures, in the first of `FORMS` of most. That of labels
    is the only one of a usual name; without, all others are told, each as what it plainly is.

    Args:
        sheet: the table.
        pictures: the names of all.
        where: it was read from.
        columns: NAMES,LABELS, either may be left out; NAMES,COLUMN,COLUMN,… for several.
        plain: whether labels must have a usual name; None if there is no such column.
        kinds: what columns are told as, as far as that is asked for; these are told as well.
    """
    first, _, others = columns.partition(",") if "," in columns else ("", "", columns)
    asked_name, asked = first, [name for name in others.split(",") if name]
    for name in filter(None, (asked_name, *asked)):
        if name not in sheet.columns:
            raise no_column([name], f"in {where}", sheet.columns)
    at, form = _column_of_names(sheet, pictures, where, asked_name)
    rest = [name for i, name in enumerate(sheet.columns) if i != at]
    usual = [name for name in rest if name.lower() in LABEL_NAMES]
    if plain and not usual and not asked:
        return None
    how = f"as --labels {where}:{sheet.columns[at]},LABEL"
    one = the_one("labels", usual, LABEL_KEYS, how) if usual and not asked else None
    labels = asked or ([one] if one else rest)
    labels += [name for name in kinds or {} if name in rest and name not in labels]
    if not labels:
        raise ValueError(f"{where} has no column beside that of names, {sheet.columns[at]}")
    check_kinds(dict.fromkeys(rest), kinds, where)
    places = [sheet.columns.index(label) for label in labels]
    wanted, cells = (kinds or {}).get(labels[0], ""), [row[places[0]] for row in sheet.rows]
    plain = is_class(cells, wanted) or not (wanted or sheet.headed)
    alone = len(labels) == 1 and plain
    told = _matched(sheet, at, places, form, pictures, where, alone)
    unused = [name for name in rest if name not in labels]
    told.columns = () if alone else tuple(labels)
    what, kind = ("classes", "labels") if alone else ("conditions", "told")
    number = "" if sheet.headed else " number"
    told.notes.insert(
        0,
        f"{what} from {where}, columns{number} {sheet.columns[at]} (names{FORMS[form]}) and "
        f"{some(labels)} ({kind})" + (f"; not used: {some(unused)}" if unused else ""),
    )
    return told


def _column_of_names(sheet: Sheet, pictures: Sequence[str], where: str, asked_name: str) -> tuple[int, int]:
    """(the column that names most pictures, in which of `FORMS`)."""
    known = [{every[k] for every in map(forms, pictures)} for k in range(len(FORMS))]
    count, form, at = 0, 0, 0
    for i in [sheet.columns.index(asked_name)] if asked_name else range(len(sheet.columns)):
        cells = [forms(str(row[i])) for row in sheet.rows if row[i] is not None]
        for k in range(len(FORMS)):
            found = len({cell[k] for cell in cells} & known[k])
            if found > count:
                count, form, at = found, k, i
    if not sheet.rows:
        raise ValueError(f"{where} has no rows below its header: give one for each picture")
    if not count:
        first = some([str(row[at]) for row in sheet.rows], 3)
        raise ValueError(
            f"{where} names no picture: it has {first}, and the pictures are {some(list(pictures), 3)}"
        )
    return at, form


def _matched(
    sheet: Sheet, at: int, places: list[int], form: int, pictures: Sequence[str], where: str, classes: bool
) -> Told:
    """The label of each picture, or its cells in the columns at these places."""
    labels: dict[str, Any] = {}
    written: dict[str, str] = {}
    for row in sheet.rows:
        name = str(row[at] if row[at] is not None else "")
        key, cells = forms(name)[form], [row[place] for place in places]
        label = label_of(cells[0], f"{name} in {where}") if classes else cells
        if label is None:
            continue
        if labels.setdefault(key, label) != label:
            raise ValueError(
                f"{name} has two labels in {where}, {labels[key]} and {label}: a picture has one"
            )
        written.setdefault(key, name)
    told, first = Told(), {}
    for picture in pictures:
        key = forms(picture)[form]
        if key not in labels:
            continue
        if first.setdefault(key, picture) != picture:
            raise ValueError(
                f"{written[key]} in {where} could be {first[key]} or {picture}: give names as from DATA on, "
                "with folder and ending"
            )
        told.labels[picture] = labels[key]
    extra = [name for key, name in written.items() if key not in first]
    if extra:
        n = f"{len(extra)} name{'s' if len(extra) > 1 else ''}"
        told.notes.append(f"{n} in {where} of no picture here: {some(extra)}")
    return told


def label_of(value: Any, whose: str) -> str | int | None:
    """A label as a whole number or text, None for none; ValueError for what is no class."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int | str):
        what = f"{type(value).__name__} {str(value)[:60]}"
        raise ValueError(f"a label must be a whole number or text, one a picture, got {what} for {whose}")
    return value.strip() or None if isinstance(value, str) else value


def file_and_columns(given: str) -> tuple[str, str]:
    """FILE:NAMES,LABELS → the file, and its columns, "" if they aren't given."""
    before, colon, columns = given.rpartition(":")
    if not colon or not before.lower().endswith(LABEL_FILES) or expanded(given).exists():
        return given, ""
    return before, columns


def stamp_of_labels(given: str | None) -> Any:
    """What changes when a file of labels outside of DATA does; None if there is none."""
    if given is None or (given.startswith(".") and "/" not in given):
        return None
    path = expanded(file_and_columns(given)[0])
    return stamp(path) if path.is_file() else None
