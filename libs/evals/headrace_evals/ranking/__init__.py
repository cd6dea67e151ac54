"""How well a search ranks: judged queries, measures by stage, intervals and paired tests. An extra: `[ranking]`."""
