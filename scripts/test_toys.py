"""What `toys.py` takes for one new file and one changed line. Run by `make toys`."""

import unittest

from toys import problem

NEW = """diff --git a/src/{0}.rs b/src/{0}.rs
new file mode 100644
--- /dev/null
+++ b/src/{0}.rs
@@ -0,0 +1,2 @@
+//! A toy.
+--x;
"""
CHANGED = """diff --git a/src/{0}.rs b/src/{0}.rs
--- a/src/{0}.rs
+++ b/src/{0}.rs
@@ -1,2 +1,3 @@
 table! {{
{1} }}
"""


class Problem(unittest.TestCase):
    def test_an_added_or_a_replaced_line(self):
        for lines in ["+    toy;\n", "-    last\n+    last, toy\n"]:
            self.assertIsNone(problem(NEW.format("toy") + CHANGED.format("mod", lines)))

    def test_more_or_less_is_refused(self):
        row = CHANGED.format("mod", "+    toy;\n")
        for patch in [
            NEW.format("toy") + CHANGED.format("mod", "+mod toy;\n+    toy;\n"),
            NEW.format("toy") + CHANGED.format("mod", "-a\n-b\n+    toy;\n"),
            NEW.format("toy") + row + CHANGED.format("lib", "+mod toy;\n"),
            NEW.format("toy") + row + "diff --git a/x b/x\ndeleted file mode 100644\n",
            NEW.format("toy") + NEW.format("more") + row,
            NEW.format("toy"),
            row,
            "",
        ]:
            self.assertIsNotNone(problem(patch), patch)


if __name__ == "__main__":
    unittest.main()
