import pytest

from services.data_svc.engine.findings import Findings
from services.data_svc.engine.layout import Layout, find_layout


def lay(paths: list[str], *folders: str, **tables: str) -> tuple[Layout, list[str]]:
    findings = Findings()
    known = {name.replace("_", "/") + "labels.csv": text.encode() for name, text in tables.items()}
    layout = find_layout(paths, folders, {name.removeprefix("root/"): text for name, text in known.items()}, findings)
    return layout, [f"{fault.field}: {fault.message}" for fault in findings.faults]


def test_the_folder_around_everything_is_not_part_of_the_ids() -> None:
    layout, faults = lay(["digits/0/a.png", "digits/1/b.png"])
    assert faults == []
    assert [(place.id, place.label) for place in layout.places.values()] == [("0/a.png", "0"), ("1/b.png", "1")]
    layout, faults = lay(["root/train/0/a.png", "root/dev/1/b.png"])
    assert [(place.label, place.split) for place in layout.places.values()] == [("0", "train"), ("1", "validation")]


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (["a.png", "b.png"], "has no label"),
        (["train/a.png", "test/b.png"], "lies in a split folder but in no class folder"),
        (["x/y/a.png", "z/y/b.png"], "neither class/ nor split/class/"),
        (["0/a.png", "1/b.png", "c.png"], "c.png: does not lie like the others"),
    ],
)
def test_files_that_lie_in_no_known_layout_are_named(paths: list[str], reason: str) -> None:
    assert reason in lay(paths)[1][0]


def test_a_table_must_name_every_file_and_only_files() -> None:
    table = "path,label\na.png,0\na.png,1\nz.png,1\nb.png,\n"
    faults = lay(["a.png", "b.png", "c.png"], root_=table)[1]
    assert faults == [
        "labels.csv line 3: names 'a.png' a second time; keep one row",
        "labels.csv line 4: names 'z.png', which is not among the files",
        "labels.csv line 5: gives 'b.png' no label",
        "b.png: has no row in labels.csv",
        "c.png: has no row in labels.csv",
    ]


def test_a_table_gives_splits_to_all_or_none() -> None:
    faults = lay(["a.png", "b.png"], root_="path,label,split\na.png,0,train\nb.png,1,\n")[1]
    assert "gives a split to 1 of 2 files" in faults[0]


def test_a_table_with_other_columns_is_refused() -> None:
    assert "it needs path,label[,split]" in lay(["a.png"], root_="file,class\na.png,0\n")[1][0]


def test_the_quotes_and_byte_order_mark_of_spreadsheets_are_read() -> None:
    layout, faults = lay(["a b.png", "c.png"], root_='\ufeffPath,Label\r\n"a b.png","x, y"\r\nc.png,z\r\n')
    assert faults == []
    assert [place.label for place in layout.places.values()] == ["x, y", "z"]
