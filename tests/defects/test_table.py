"""The table of defects does not rot unseen between two runs of ``scripts/defects``."""

from pathlib import Path

import pytest

from tests.defects import DEFECTS, ROOT
from tests.defects.__main__ import main
from tests.defects.defect import Defect, RottenDefectError

ANY = DEFECTS[0]


@pytest.mark.parametrize("defect", DEFECTS, ids=[one.name for one in DEFECTS])
def test_a_defect_fits_the_code_and_leaves_it_legal(defect: Defect) -> None:
    broken = defect.broken((ROOT / defect.file).read_text())
    compile(broken, defect.file, "exec")


def test_no_two_defects_have_one_name() -> None:
    assert len({one.name for one in DEFECTS}) == len(DEFECTS)


@pytest.mark.parametrize("source", ["", "a = 1\na = 1\n"])
def test_a_text_that_is_not_found_exactly_once_is_an_error(source: str) -> None:
    defect = Defect("n", "code.py", "a = 1\n", "a = 2\n", ANY.test)
    with pytest.raises(RottenDefectError, match="not once"):
        defect.broken(source)


def test_putting_back_changes_the_file(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("a = 1\nb = 1\n")
    Defect("n", "code.py", "a = 1\n", "a = 2\n", ANY.test).put_back(tmp_path)
    assert (tmp_path / "code.py").read_text() == "a = 2\nb = 1\n"


def test_a_word_that_no_defect_has_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no such defect"]) == 1
    assert "no defect is named so" in capsys.readouterr().err
