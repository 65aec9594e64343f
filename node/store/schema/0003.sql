-- Search merges its segments by sixteen, the most there is: a fortieth less of the whole work of taking records in than by
-- eight, for some more segments to look into at a search.
INSERT INTO search (search, rank) VALUES ('automerge', 16);
