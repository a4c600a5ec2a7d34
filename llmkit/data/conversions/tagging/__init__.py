"""Tags of words as people have them: in any scheme and writing, one word a row, or as spans of characters or words.

`words.find`, `spans.find` and `token_spans.find` look for rows without lists of words, which they make; `tags.find` is
then asked of the columns of words and tags.
"""
