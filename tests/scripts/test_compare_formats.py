"""The table of formats: made from its result file, and one format through the whole script."""

import json

import pytest

from fourreal.errors import UserError
from scripts.evaluate.result_file import REPOSITORY
from scripts.tools.compare_formats import Args, key_of, main, put_table, table
from scripts.tools.format_routes import FORMATS
from tests.viewer.toy_scene import toy_scene

PAGE = REPOSITORY / "docs" / "VIEWERS.md"
RESULTS = REPOSITORY / "docs" / "benchmarks" / "formats.json"


def test_the_page_has_the_table_of_the_result_file_and_no_format_is_left_out():
    data = json.loads(RESULTS.read_text())
    assert table(data, "fox_grid") in PAGE.read_text(), (
        "docs/VIEWERS.md is out of date: python -m scripts.tools.compare_formats --page "
        "docs/VIEWERS.md"
    )
    assert set(data["results"]["fox_grid"]) == {key_of(form) for form in FORMATS}


@pytest.mark.slow
def test_a_scene_is_written_read_and_compared(tmp_path):
    toy_scene(500).save(tmp_path / "scene.safetensors")
    results = tmp_path / "r.json"
    main(Args(tmp_path, results, tmp_path / "sheet.png", only=("4dgs",), name="toy", height=72))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- formats: python -m scripts.tools.compare_formats -->\nold\n"
                    "<!-- end of formats -->\nafter\n")  # fmt: skip
    main(Args(None, results, page=page, name="toy"))
    text = page.read_text()
    assert "old" not in text and text.startswith("before\n") and text.endswith("\nafter\n")
    row = json.loads(results.read_text())["results"]["toy"]["4dgs"]
    assert row["psnr_a"] > 38 and row["psnr_b"] > 30 and row["files"] == 1
    assert f"{row['psnr_a']:.1f}, {row['psnr_b']:.1f} |" in text
    (tmp_path / "none.md").write_text("nothing")
    with pytest.raises(UserError, match="no place for the table"):
        put_table(tmp_path / "none.md", json.loads(results.read_text()), "toy")
