"""Files: written aside and renamed, folders, digests, and one reader of each text format."""
