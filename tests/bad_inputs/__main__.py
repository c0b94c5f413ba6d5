"""python -m tests.bad_inputs: try every case of bad input and write docs/BAD_INPUTS.md."""

from fourreal.atomic import atomic_file
from tests.bad_inputs.table import PAGE, page

if __name__ == "__main__":
    with atomic_file(PAGE) as temporary:
        temporary.write_text(page())
    print(f"wrote {PAGE}")
