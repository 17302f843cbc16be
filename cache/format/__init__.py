"""The files of a feature set: shards, their index, encodings and checksums."""
