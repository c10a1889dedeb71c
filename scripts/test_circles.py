"""What `circles.py` finds in small crates. Run by `make circles`."""

import tempfile
import unittest
from pathlib import Path

from circles import Crate, circles


def found(unit="files", **sources):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in sources.items():
            path = Path(folder, name.replace("__", "/") + ".rs")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return circles(Crate(folder).arrows(unit))


class Circles(unittest.TestCase):
    def test_two_files_that_use_each_other(self):
        self.assertEqual(found(lib="mod a; mod b;", a="use crate::b::B;", b="fn f() { super::a::g() }"), [["a", "b"]])

    def test_one_direction_is_no_circle(self):
        self.assertEqual(found(lib="mod a; mod b;", a="use crate::b::{B, c::{self, D}};", b="pub mod c {}"), [])

    def test_the_line_behind_a_name_is_the_definition(self):
        # `a` names the re-export of `b`, so the arrow goes to `b` and not to `lib`.
        self.assertEqual(found(lib="mod a; mod b; pub use b::B;", a="use crate::B;", b="use crate::a::A;"), [["a", "b"]])

    def test_declaring_and_re_exporting_children_is_no_arrow(self):
        self.assertEqual(found(lib="mod a;", a__mod="mod b; pub use b::B; pub struct A;", a__b="use super::A;"), [])
        self.assertEqual(found(lib="mod a;", a__mod="mod b; fn f() { b::g() }", a__b="use super::A;"), [["a/b", "a/mod"]])

    def test_comments_texts_and_tests_do_not_count(self):
        for idle in [
            "// crate::b::B",
            "/* crate::b */",
            'const A: &str = "\\" crate::b::B";',
            'const A: &str = r#"" crate::b::B"#;',
            "#[cfg(test)] mod tests { use crate::b::B; }",
            "#[cfg(all(test, unix))] use crate::b::B;",
        ]:
            self.assertEqual(found(lib="mod a; mod b;", a=idle, b="use crate::a::A;"), [], idle)
        self.assertEqual(found(lib="", a="#[cfg(not(test))] use crate::b::B;", b="use crate::a::A;"), [["a", "b"]])
        self.assertEqual(found(lib="", a="fn f<'a>(x: &'a str) { crate::b::g('\"') }", b="use crate::a;"), [["a", "b"]])

    def test_folders(self):
        sources = {
            "lib": "",
            "a__mod": "",
            "a__x": "use crate::b::y::Y;",
            "a__z": "",
            "b__mod": "",
            "b__y": "use crate::a::z::Z;",
        }
        self.assertEqual(found(**sources), [])
        self.assertEqual(found("folders", **sources), [["a", "b"]])


if __name__ == "__main__":
    unittest.main()
