"""The answer as text, Markdown, pictures and a page."""
