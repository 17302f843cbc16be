"""From a file to an array of pixels that a network takes."""
