"""Sphinx's part of the book: formulas as MathML, and a plain `div` with a class.

Sphinx loads this by name and calls `setup`; it is imported there, so that the module can be read
where Sphinx is not installed.
"""

from __future__ import annotations

from utils.book.formulas import mathml


def setup(app) -> dict:
    """Register both with a `sphinx.application.Sphinx`, which calls this."""
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class Div(SphinxDirective):
        """A container of blocks with classes, as in `{div} printed`."""

        has_content = True
        required_arguments = 1
        final_argument_whitespace = True

        def run(self) -> list[nodes.Node]:
            """Return the container with what stands in it."""
            box = nodes.container(classes=self.arguments[0].split())
            self.state.nested_parse(self.content, self.content_offset, box)
            return [box]

    def visit_inline(writer, node) -> None:
        writer.body.append(mathml(node.astext()))
        raise nodes.SkipNode

    def visit_block(writer, node) -> None:
        writer.body.append(mathml(node.astext(), is_block=True))
        raise nodes.SkipNode

    app.add_directive("div", Div)
    app.add_html_math_renderer(
        "mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None)
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
