from typing import Any
def html_page(a: Any, b: Any, c: Any) -> str:
    return "<html></html>"
