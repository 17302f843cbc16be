"""The part of an image that matters, found by what a frozen network sees where."""
