"""Studies: each table and figure of the papers, and ours beyond them, as a grid that is declared, run and read back.

`contract` says what a study is; a file each for the kinds of study; `reflex_cases` and `offline_cases` declare them;
`declared` finds them by name; `runner` runs what is not done yet.
"""
