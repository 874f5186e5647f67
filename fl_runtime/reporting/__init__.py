"""What a run becomes for a reader: summaries, claim results, tables, pictures, pages."""
